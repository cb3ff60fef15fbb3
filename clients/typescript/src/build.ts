// Builds a Dockerfile through a daemon and writes the result to a file.
//
//     npx tsx src/build.ts --addr unix:///run/cooper/cooperd.sock --target dev -o dev.tar .

import { randomUUID } from "node:crypto";
import { createWriteStream, renameSync, rmSync } from "node:fs";
import { finished } from "node:stream/promises";
import { parseArgs } from "node:util";

import * as grpc from "@grpc/grpc-js";

import { follow } from "./progress.ts";
import { Control } from "./protocol.ts";
import { Session } from "./session.ts";

const USAGE = `usage: build [OPTIONS] -o FILE PATH
  --addr ADDRESS             the daemon (default: $BUILDKIT_HOST, else unix:///run/cooper/cooperd.sock)
  -f, --file NAME            name of the Dockerfile in PATH (default: Dockerfile)
  --target STAGE             the stage to build (default: the last)
  --build-arg NAME=VALUE     repeated
  --build-context NAME=PATH  a further folder; repeated
  -t, --tag NAME             name of the image in the result
  --type docker|oci|tar      what is written (default: docker)
  -o, --output FILE          the file to write`;

function pairs(list: string[]): [string, string][] {
  return list.map((text) => [text.split("=", 1)[0]!, text.slice(text.indexOf("=") + 1)]);
}

function options() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      addr: { type: "string", default: process.env.BUILDKIT_HOST ?? "unix:///run/cooper/cooperd.sock" },
      file: { type: "string", short: "f", default: "Dockerfile" },
      target: { type: "string" },
      "build-arg": { type: "string", multiple: true, default: [] },
      "build-context": { type: "string", multiple: true, default: [] },
      tag: { type: "string", short: "t" },
      type: { type: "string", default: "docker" },
      output: { type: "string", short: "o" },
    },
  });
  const [path] = positionals;
  if (path === undefined || positionals.length > 1 || values.output === undefined) throw new Error(USAGE);
  return { ...values, output: values.output, path, contexts: new Map(pairs(values["build-context"])) };
}

function request(chosen: ReturnType<typeof options>, ref: string, session: Session): object {
  const attributes: Record<string, string> = { filename: chosen.file };
  if (chosen.target) attributes.target = chosen.target;
  for (const [name, value] of pairs(chosen["build-arg"])) attributes[`build-arg:${name}`] = value;
  for (const name of chosen.contexts.keys()) attributes[`context:${name}`] = `local:${name}`;
  return {
    Ref: ref,
    Session: session.id,
    Frontend: "dockerfile.v0",
    FrontendAttrs: attributes,
    Exporters: [{ Type: chosen.type, Attrs: chosen.tag ? { name: chosen.tag } : {} }],
  };
}

async function build(): Promise<void> {
  const chosen = options();
  const address = chosen.addr.replace(/^unix:\/\//, "unix:").replace(/^tcp:\/\//, "");
  const control = new Control(address, grpc.credentials.createInsecure());
  const unfinished = `${chosen.output}.part`;
  const file = createWriteStream(unfinished);
  const folders = new Map([["context", chosen.path], ["dockerfile", chosen.path], ...chosen.contexts]);
  const session = await Session.open(control, folders, file);
  try {
    const ref = randomUUID().replaceAll("-", "");
    const solve = new Promise<{ ExporterResponse: Record<string, string> }>((resolve, reject) => {
      (control as any).Solve(request(chosen, ref, session), (error: grpc.ServiceError | null, response: any) =>
        error ? reject(error) : resolve(response),
      );
    });
    const [answer] = await Promise.all([solve, follow(control, ref)]);
    file.end();
    await finished(file);
    renameSync(unfinished, chosen.output);
    for (const [name, value] of Object.entries(answer.ExporterResponse).sort()) console.log(`${name}=${value}`);
  } catch (error) {
    file.destroy();
    rmSync(unfinished, { force: true });
    throw error;
  } finally {
    session.close();
    control.close();
  }
}

build().catch((error: Error & { details?: string }) => {
  console.error(`error: ${error.details ?? error.message}`);
  process.exitCode = 1;
});
