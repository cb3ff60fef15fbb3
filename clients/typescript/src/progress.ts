// Follows a build: one line when a step starts, its output, and one line when it ends.

import * as grpc from "@grpc/grpc-js";

import { seconds, type Status } from "./protocol.ts";

/** Prints the progress of a build to standard error until it ends. */
export async function follow(control: grpc.Client, Ref: string): Promise<void> {
  const numbers = new Map<string, number>();
  const ended = new Set<string>();
  try {
    for await (const status of (control as any).Status({ Ref }) as AsyncIterable<Status>) {
      for (const vertex of status.vertexes) show(vertex, numbers, ended);
      for (const log of status.logs) {
        for (const line of log.msg.toString().trimEnd().split("\n")) {
          console.error(`#${numbers.get(log.vertex) ?? 0} ${line}`);
        }
      }
    }
  } catch (error) {
    // The build was ended; Solve says why.
    const { code } = error as grpc.ServiceError;
    if (code !== grpc.status.CANCELLED && code !== grpc.status.NOT_FOUND) throw error;
  }
}

function show(vertex: Status["vertexes"][number], numbers: Map<string, number>, ended: Set<string>): void {
  if (!numbers.has(vertex.digest) && vertex.started) {
    numbers.set(vertex.digest, numbers.size + 1);
    console.error(`#${numbers.size} ${vertex.name}`);
  }
  if (ended.has(vertex.digest) || !vertex.completed) return;
  ended.add(vertex.digest);
  const took = vertex.started ? seconds(vertex.completed) - seconds(vertex.started) : 0;
  const outcome = vertex.error ? `ERROR: ${vertex.error}` : vertex.cached ? "CACHED" : `DONE ${took.toFixed(1)}s`;
  console.error(`#${numbers.get(vertex.digest) ?? 0} ${outcome}`);
}
