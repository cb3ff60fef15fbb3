"""Follows a build: one line when a step starts, its output, and one line when it ends."""

import sys

import control_pb2 as control
import control_pb2_grpc as control_grpc
import grpc


def follow(channel: grpc.Channel, ref: str) -> None:
    """Prints the progress of a build to standard error until it ends."""
    numbers: dict[str, int] = {}
    ended: set[str] = set()
    try:
        for status in control_grpc.ControlStub(channel).Status(control.StatusRequest(Ref=ref)):
            for vertex in status.vertexes:
                show(vertex, numbers, ended)
            for log in status.logs:
                for line in log.msg.decode(errors="replace").splitlines():
                    print(f"#{numbers.get(log.vertex, 0)} {line}", file=sys.stderr)
    except grpc.RpcError as error:
        # The build was ended; Solve says why.
        if error.code() not in (grpc.StatusCode.CANCELLED, grpc.StatusCode.NOT_FOUND):
            raise


def show(vertex: control.Vertex, numbers: dict[str, int], ended: set[str]) -> None:
    if vertex.digest not in numbers and vertex.HasField("started"):
        numbers[vertex.digest] = len(numbers) + 1
        print(f"#{numbers[vertex.digest]} {vertex.name}", file=sys.stderr)
    if vertex.digest in ended or not vertex.HasField("completed"):
        return
    ended.add(vertex.digest)
    took = (vertex.completed.ToNanoseconds() - vertex.started.ToNanoseconds()) / 1e9
    outcome = f"ERROR: {vertex.error}" if vertex.error else "CACHED" if vertex.cached else f"DONE {took:.1f}s"
    print(f"#{numbers.get(vertex.digest, 0)} {outcome}", file=sys.stderr)
