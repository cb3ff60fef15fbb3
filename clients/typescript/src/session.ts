// The session: gRPC services that the daemon calls on the client, through a stream that the client opened.

import { randomUUID } from "node:crypto";
import { createReadStream, mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Writable } from "node:stream";

import * as grpc from "@grpc/grpc-js";
import { HealthImplementation } from "grpc-health-check";

import { type Bytes, fileSend, fileSync, type Packet, PacketType } from "./protocol.ts";
import { entries, Filter, withLinkTargets } from "./tree.ts";

const CHUNK = 32 * 1024;
const METHODS = [
  "/moby.filesync.v1.FileSync/DiffCopy",
  "/moby.filesync.v1.FileSend/DiffCopy",
  "/grpc.health.v1.Health/Check",
];

/** All values of a metadata key; those with other than ASCII in them come encoded. */
function values(metadata: grpc.Metadata, key: string): string[] {
  const encoded = metadata.get(`${key}-encoded`).includes("1");
  return metadata
    .get(key)
    .flatMap((value) => value.toString().split(", "))
    .map((value) => (encoded ? decodeURIComponent(value.replaceAll("+", " ")) : value));
}

/** Writes, and waits while the other side is behind. */
async function send<Message>(call: grpc.ServerDuplexStream<unknown, Message>, message: Message): Promise<void> {
  if (!call.write(message)) await new Promise((resolve) => call.once("drain", resolve));
}

/** Sends one of the client's folders: what is in it, then the files that are asked for. */
async function sendFolder(call: grpc.ServerDuplexStream<Packet, Packet>, folders: Map<string, string>): Promise<void> {
  const name = values(call.metadata, "dir-name")[0] ?? "";
  const root = folders.get(name);
  if (root === undefined) {
    const details = `no folder named ${JSON.stringify(name)} in this session`;
    throw Object.assign(new Error(details), { code: grpc.status.NOT_FOUND, details });
  }
  const follow = withLinkTargets(root, values(call.metadata, "followpaths"));
  const wanted = new Filter(values(call.metadata, "exclude-patterns"), follow);

  // What the daemon asks for is collected all the time, so that neither side waits for the other to read.
  const asked: Packet[] = [];
  let wake = () => {};
  let ended = false;
  call.on("data", (packet: Packet) => (asked.push(packet), wake()));
  call.on("end", () => ((ended = true), wake()));
  call.on("cancelled", () => ((ended = true), wake()));

  const paths: string[] = [];
  for (const stat of entries(root, wanted)) {
    paths.push(stat.path);
    await send(call, { type: PacketType.stat, stat });
  }
  await send(call, { type: PacketType.stat });
  for (;;) {
    const packet = asked.shift();
    if (packet === undefined) {
      if (ended) return;
      await new Promise<void>((resolve) => (wake = resolve));
    } else if (packet.type === PacketType.request) {
      const ID = packet.ID ?? 0;
      for await (const data of createReadStream(join(root, paths[ID]!), { highWaterMark: CHUNK })) {
        await send(call, { type: PacketType.data, ID, data });
      }
      await send(call, { type: PacketType.data, ID });
    } else if (packet.type === PacketType.finish) {
      await send(call, { type: PacketType.finish });
      return;
    } else if (packet.type === PacketType.error) {
      throw new Error(`the daemon gave up: ${packet.data?.toString()}`);
    }
  }
}

/** Writes the result of the build into a file. */
async function receiveResult(call: grpc.ServerDuplexStream<Bytes, Bytes>, file: Writable): Promise<void> {
  call.on("data", (message: Bytes) => {
    if (file.write(message.data)) return;
    call.pause();
    file.once("drain", () => call.resume());
  });
  await new Promise((resolve) => call.once("end", resolve));
}

/** A handler of a stream that ends it, well or with the error that was thrown. */
function handler<In, Out>(serve: (call: grpc.ServerDuplexStream<In, Out>) => Promise<void>) {
  return (call: grpc.ServerDuplexStream<In, Out>) => {
    serve(call).then(
      () => call.end(),
      (error) => call.emit("error", error),
    );
  };
}

/** An open session. The daemon's HTTP/2 bytes go through `Control.Session` to a gRPC server of this process. */
export class Session {
  readonly id = randomUUID().replaceAll("-", "");

  private constructor(
    private readonly server: grpc.Server,
    private readonly folder: string,
  ) {}

  static async open(control: grpc.Client, folders: Map<string, string>, result: Writable): Promise<Session> {
    const server = new grpc.Server();
    server.addService(fileSync, { DiffCopy: handler((call: any) => sendFolder(call, folders)) });
    server.addService(fileSend, { DiffCopy: handler((call: any) => receiveResult(call, result)) });
    new HealthImplementation({ "": "SERVING" }).addToServer(server);
    const session = new Session(server, mkdtempSync(join(tmpdir(), "cooper-session-")));
    const address = join(session.folder, "session.sock");
    await new Promise<void>((resolve, reject) => {
      const insecure = grpc.ServerCredentials.createInsecure();
      server.bindAsync(`unix:${address}`, insecure, (error) => (error ? reject(error) : resolve()));
    });
    session.join(control, address);
    return session;
  }

  private join(control: grpc.Client, address: string): void {
    const metadata = new grpc.Metadata();
    metadata.set("x-docker-expose-session-uuid", this.id);
    metadata.set("x-docker-expose-session-name", "cooper-typescript");
    for (const method of METHODS) metadata.add("x-docker-expose-session-grpc-method", method);
    const stream: grpc.ClientDuplexStream<Bytes, Bytes> = (control as any).Session(metadata);
    const socket = connect(address);
    socket.on("data", (data) => {
      if (!stream.write({ data })) {
        socket.pause();
        stream.once("drain", () => socket.resume());
      }
    });
    stream.on("data", (message: Bytes) => socket.write(message.data));
    socket.on("close", () => stream.end());
    // The end of the session; the build itself says when something is wrong.
    stream.on("error", () => socket.destroy());
    stream.on("end", () => socket.end());
    socket.on("error", () => stream.cancel());
  }

  close(): void {
    this.server.forceShutdown();
    rmSync(this.folder, { recursive: true });
  }
}
