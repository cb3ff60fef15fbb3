"""The session: gRPC services that the daemon calls on the client, through a stream that the client opened."""

import os
import queue
import socket
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO
from urllib.parse import unquote_plus

import control_pb2 as control
import control_pb2_grpc as control_grpc
import filesync_pb2 as filesync
import filesync_pb2_grpc as filesync_grpc
import fsutil_pb2 as fsutil
import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from .tree import Filter, entries, with_link_targets

CHUNK = 32 * 1024
METHODS = [
    "/moby.filesync.v1.FileSync/DiffCopy",
    "/moby.filesync.v1.FileSend/DiffCopy",
    "/grpc.health.v1.Health/Check",
]


def values(context: grpc.ServicerContext, key: str) -> list[str]:
    """All values of a metadata key; those with other than ASCII in them come encoded."""
    metadata = context.invocation_metadata()
    found = [value for name, value in metadata if name == key]
    encoded = any(name == f"{key}-encoded" and value == "1" for name, value in metadata)
    return [unquote_plus(value) for value in found] if encoded else found


class Folders(filesync_grpc.FileSyncServicer):
    """Sends the client's folders to the daemon, each under its name."""

    def __init__(self, folders: dict[str, str]):
        self.folders = folders

    def DiffCopy(self, request_iterator, context) -> Iterator[fsutil.Packet]:
        name = (values(context, "dir-name") or [""])[0]
        if name not in self.folders:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no folder named {name!r} in this session")
        root = self.folders[name]
        wanted = Filter(
            exclude=values(context, "exclude-patterns"),
            follow=with_link_targets(root, values(context, "followpaths")),
        )
        # What the daemon asks for is read all the time, so that neither side waits for the other to read.
        asked: queue.Queue[fsutil.Packet | None] = queue.Queue()
        threading.Thread(target=drain, args=(request_iterator, asked), daemon=True).start()

        paths = []
        for entry in entries(root, wanted):
            paths.append(entry.path)
            yield fsutil.Packet(type=fsutil.Packet.PACKET_STAT, stat=entry)
        yield fsutil.Packet(type=fsutil.Packet.PACKET_STAT)
        while (packet := asked.get()) is not None:
            if packet.type == fsutil.Packet.PACKET_REQ:
                with open(os.path.join(root, paths[packet.ID]), "rb") as file:
                    while data := file.read(CHUNK):
                        yield fsutil.Packet(type=fsutil.Packet.PACKET_DATA, ID=packet.ID, data=data)
                yield fsutil.Packet(type=fsutil.Packet.PACKET_DATA, ID=packet.ID)
            elif packet.type == fsutil.Packet.PACKET_FIN:
                yield fsutil.Packet(type=fsutil.Packet.PACKET_FIN)
                return
            elif packet.type == fsutil.Packet.PACKET_ERR:
                context.abort(grpc.StatusCode.ABORTED, packet.data.decode(errors="replace"))


class Result(filesync_grpc.FileSendServicer):
    """Receives the result of the build as one file."""

    def __init__(self, file: BinaryIO):
        self.file = file

    def DiffCopy(self, request_iterator, context) -> Iterator[filesync.BytesMessage]:
        for message in request_iterator:
            self.file.write(message.data)
        self.file.flush()
        return iter(())


def drain(messages, into: queue.Queue) -> None:
    """Moves messages into a queue and marks their end, whichever way it comes."""
    try:
        for message in messages:
            into.put(message)
    except grpc.RpcError:
        pass
    finally:
        into.put(None)


class Session:
    """An open session. The daemon's HTTP/2 bytes go through `Control.Session` to a gRPC server of this process."""

    def __init__(self, channel: grpc.Channel, folders: dict[str, str], result: BinaryIO):
        self.id = uuid.uuid4().hex
        self._folder = tempfile.TemporaryDirectory(prefix="cooper-session-")
        address = os.path.join(self._folder.name, "session.sock")
        self._server = grpc.server(ThreadPoolExecutor(max_workers=16))
        filesync_grpc.add_FileSyncServicer_to_server(Folders(folders), self._server)
        filesync_grpc.add_FileSendServicer_to_server(Result(result), self._server)
        serving = health.HealthServicer()
        serving.set("", health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(serving, self._server)
        self._server.add_insecure_port(f"unix:{address}")
        self._server.start()

        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(address)
        metadata = [("x-docker-expose-session-uuid", self.id), ("x-docker-expose-session-name", "cooper-python")]
        metadata += [("x-docker-expose-session-grpc-method", method) for method in METHODS]
        self._stream = control_grpc.ControlStub(channel).Session(self._outgoing(), metadata=metadata)
        threading.Thread(target=self._incoming, daemon=True).start()

    def _outgoing(self) -> Iterator[control.BytesMessage]:
        while data := self._socket.recv(CHUNK):
            yield control.BytesMessage(data=data)

    def _incoming(self) -> None:
        try:
            for message in self._stream:
                self._socket.sendall(message.data)
        except (grpc.RpcError, OSError):
            pass  # The end of the session; the build itself says when something is wrong.

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.cancel()
        self._socket.close()
        self._server.stop(grace=None).wait()
        self._folder.cleanup()
