// The protocol, loaded from this repository's .proto files, and the messages of it that are used here.

import { fileURLToPath } from "node:url";

import * as grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const files = fileURLToPath(new URL("../../../proto/proto", import.meta.url));
const definition = loadSync(["control.proto", "filesync.proto"], {
  includeDirs: [files],
  keepCase: true,
  longs: String,
  defaults: true,
  enums: Number,
});

// The generated constructors are found by name only, so that their types are not known.
const loaded = grpc.loadPackageDefinition(definition) as any;

export const Control: grpc.ServiceClientConstructor = loaded.moby.buildkit.v1.Control;
export const fileSync: grpc.ServiceDefinition = loaded.moby.filesync.v1.FileSync.service;
export const fileSend: grpc.ServiceDefinition = loaded.moby.filesync.v1.FileSend.service;

/** A chunk of the session's bytes, or of a result. */
export interface Bytes {
  data: Buffer;
}

/** One entry of a folder. 64-bit numbers are decimal text. */
export interface Stat {
  path: string;
  mode: number;
  size?: string;
  modTime: string;
  linkname?: string;
}

export const PacketType = { stat: 0, request: 1, data: 2, finish: 3, error: 4 } as const;

/** One packet of a transfer of a folder. */
export interface Packet {
  type: number;
  stat?: Stat;
  ID?: number;
  data?: Buffer;
}

interface Time {
  seconds: string;
  nanos: number;
}

/** What is new about a build. */
export interface Status {
  vertexes: { digest: string; name: string; cached: boolean; started?: Time; completed?: Time; error: string }[];
  logs: { vertex: string; msg: Buffer }[];
}

export function seconds(time: Time): number {
  return Number(time.seconds) + time.nanos / 1e9;
}
