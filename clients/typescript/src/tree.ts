// What of a folder is sent to the daemon: its entries in order, without what the patterns leave out.

import { lstatSync, readdirSync, readlinkSync, type Stats } from "node:fs";
import { join, posix } from "node:path";

import type { Stat } from "./protocol.ts";

// Type and permission bits of Go's os.FileMode, which the protocol uses.
const DIRECTORY = 2 ** 31;
const LINK = 2 ** 27;
const FIFO = 2 ** 25;
const SET_UID = 2 ** 23;
const SET_GID = 2 ** 22;
const STICKY = 2 ** 20;

/** The mode of stat(2) as Go's os.FileMode; undefined for devices and sockets, which are not sent. */
function goMode(about: Stats): number | undefined {
  const bits =
    (about.mode & 0o777) +
    (about.mode & 0o4000 ? SET_UID : 0) +
    (about.mode & 0o2000 ? SET_GID : 0) +
    (about.mode & 0o1000 ? STICKY : 0);
  if (about.isDirectory()) return DIRECTORY + bits;
  if (about.isSymbolicLink()) return LINK + bits;
  if (about.isFIFO()) return FIFO + bits;
  return about.isFile() ? bits : undefined;
}

/** One pattern of a .dockerignore as an expression that a whole path, or a folder above it, has to match. */
export function expression(pattern: string): RegExp {
  const tokens = /\*\*\/|\*\*|\*|\?|\[[^\]]+\]|\\?./gsu;
  const text = pattern.replace(tokens, (token) => {
    if (token === "**/") return "(?:.*/)?";
    if (token === "**") return ".*";
    if (token === "*") return "[^/]*";
    if (token === "?") return "[^/]";
    if (token.length > 2) return token;
    return token.slice(-1).replace(/[\\^$.*+?()[\]{}|/]/, "\\$&");
  });
  return new RegExp(`^${text}(?:/.*)?$`, "su");
}

function namesOf(path: string): string[] {
  return path.split("/").filter((name) => name !== "" && name !== ".");
}

/** Which paths are sent: those that `follow` leads to, without those that `exclude` ends up naming. */
export class Filter {
  private readonly excludes: { keeps: boolean; expression: RegExp }[];
  private readonly follows: RegExp[][];
  readonly mayHoldExceptions: boolean;

  constructor(exclude: string[], follow: string[]) {
    this.excludes = exclude.map((pattern) => ({
      keeps: pattern.startsWith("!"),
      expression: expression(pattern.replace(/^!/, "")),
    }));
    this.follows = follow.map((path) => namesOf(path).map(expression));
    this.mayHoldExceptions = this.excludes.some((pattern) => pattern.keeps);
  }

  leavesOut(path: string): boolean {
    let out = false;
    for (const pattern of this.excludes) {
      if (out === pattern.keeps && pattern.expression.test(path)) out = !pattern.keeps;
    }
    return out;
  }

  /** Whether a path stands on the way to, at or below one that was asked for. */
  leadsTo(path: string): boolean {
    const names = path.split("/");
    const leads = (parts: RegExp[]) => parts.every((part, at) => at >= names.length || part.test(names[at]!));
    return this.follows.length === 0 || this.follows.some(leads);
  }
}

/** The paths asked for, and where the symbolic links on the way to them lead within the folder. */
export function withLinkTargets(root: string, follow: string[]): string[] {
  const todo = [...follow];
  const found: string[] = [];
  for (let path = todo.pop(); path !== undefined; path = todo.pop()) {
    if (found.includes(path)) continue;
    found.push(path);
    const names = namesOf(path);
    for (let count = 1; count <= names.length; count++) {
      const link = names.slice(0, count).join("/");
      if (lstatSync(join(root, link), { throwIfNoEntry: false })?.isSymbolicLink()) {
        const target = posix.resolve("/", posix.dirname(link), readlinkSync(join(root, link)));
        todo.push([target.slice(1), ...names.slice(count)].join("/"));
        break;
      }
    }
  }
  return found;
}

/** Every entry below a folder in the protocol's order: by name, a folder before what it holds. */
export function* entries(root: string, wanted: Filter): Generator<Stat> {
  const links = new Map<string, string>();

  function describe(path: string, mode: number, about: Stats, nanoseconds: bigint): Stat {
    // Owners are the client's own matter: what is sent belongs to root.
    const entry: Stat = { path, mode, modTime: nanoseconds.toString() };
    if (about.isSymbolicLink()) entry.linkname = readlinkSync(join(root, path));
    if (about.isFile()) {
      entry.size = about.size.toString();
      const inode = `${about.dev}:${about.ino}`;
      const first = links.get(inode) ?? path;
      links.set(inode, first);
      if (first !== path) entry.linkname = first;
    }
    return entry;
  }

  function* walk(folder: string): Generator<Stat> {
    const names = readdirSync(join(root, folder)).sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    for (const name of names) {
      const path = folder === "" ? name : `${folder}/${name}`;
      const about = lstatSync(join(root, path));
      const mode = goMode(about);
      if (mode === undefined || !wanted.leadsTo(path)) continue;
      const entry = describe(path, mode, about, lstatSync(join(root, path), { bigint: true }).mtimeNs);
      const below = about.isDirectory() ? walk(path) : [];
      if (!wanted.leavesOut(path)) {
        yield entry;
        yield* below;
      } else if (wanted.mayHoldExceptions) {
        // A later `!pattern` may bring back something in it; its folders then come along.
        const inside = [...below];
        if (inside.length > 0) yield entry;
        yield* inside;
      }
    }
  }

  yield* walk("");
}
