"""Builds a Dockerfile through a daemon and writes the result to a file.

    python -m cooper_client.build --addr unix:///run/cooper/cooperd.sock --target dev -o dev.tar .
"""

import argparse
import os
import sys
import threading
import uuid

import control_pb2 as control
import control_pb2_grpc as control_grpc
import grpc

from .progress import follow
from .session import Session


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m cooper_client.build", description="Build a Dockerfile.")
    default = os.environ.get("BUILDKIT_HOST", "unix:///run/cooper/cooperd.sock")
    parser.add_argument("--addr", default=default, help="the daemon's address (default: %(default)s)")
    parser.add_argument("-f", "--file", default="Dockerfile", help="name of the Dockerfile in PATH")
    parser.add_argument("--target", help="the stage to build (default: the last)")
    parser.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--build-context", action="append", default=[], metavar="NAME=PATH", help="a further folder")
    parser.add_argument("-t", "--tag", help="name of the image in the result")
    parser.add_argument("--type", default="docker", choices=["docker", "oci", "tar"], help="what is written")
    parser.add_argument("-o", "--output", required=True, help="the file to write")
    parser.add_argument("path", help="folder of the build context")
    return parser.parse_args()


def request(options: argparse.Namespace, ref: str, session: Session, contexts: dict[str, str]) -> control.SolveRequest:
    attributes = {"filename": options.file}
    if options.target:
        attributes["target"] = options.target
    for argument in options.build_arg:
        name, _, value = argument.partition("=")
        attributes[f"build-arg:{name}"] = value
    for name in contexts:
        attributes[f"context:{name}"] = f"local:{name}"
    exporter = control.Exporter(Type=options.type, Attrs={"name": options.tag} if options.tag else {})
    return control.SolveRequest(
        Ref=ref, Session=session.id, Frontend="dockerfile.v0", FrontendAttrs=attributes, Exporters=[exporter]
    )


def main() -> int:
    options = arguments()
    contexts = dict(context.split("=", 1) for context in options.build_context)
    folders = {"context": options.path, "dockerfile": options.path, **contexts}
    ref = uuid.uuid4().hex
    unfinished = f"{options.output}.part"
    with grpc.insecure_channel(options.addr.replace("unix://", "unix:")) as channel, open(unfinished, "wb") as file:
        try:
            with Session(channel, folders, file) as session:
                progress = threading.Thread(target=follow, args=(channel, ref))
                progress.start()
                try:
                    answer = control_grpc.ControlStub(channel).Solve(request(options, ref, session, contexts))
                finally:
                    progress.join(timeout=10)
        except grpc.RpcError as error:
            os.unlink(unfinished)
            print(f"error: {error.details()}", file=sys.stderr)
            return 1
    os.replace(unfinished, options.output)
    for name, value in sorted(answer.ExporterResponse.items()):
        print(f"{name}={value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
