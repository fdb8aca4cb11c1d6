import * as v from 'valibot';
import { LOCAL_JSON, tryParseJson } from '../kit/json.js';

/**
 * Schemas for the parts we use of the JSON that an engine's command line prints. It may be another program of that name, or another
 * version: an invalid field counts as absent.
 */
const maybe = <const S extends v.GenericSchema>(schema: S) => v.optional(v.fallback(v.optional(schema), undefined));
const text = maybe(v.string());
const flag = maybe(v.boolean());
const number = maybe(v.pipe(v.number(), v.finite()));
const texts = maybe(v.array(v.string()));

/** `info`, of docker and of podman; `docker` may be podman under another name. */
export const engineInfo = v.object({
  ServerVersion: text,
  OSType: text,
  Architecture: text,
  OperatingSystem: text,
  SecurityOptions: texts,
  CgroupVersion: text,
  NCPU: number,
  MemTotal: number,
  MemoryLimit: flag,
  CpuCfsQuota: flag,
  PidsLimit: flag,
  ClientInfo: maybe(v.object({ Context: text })),
  host: maybe(
    v.object({
      os: text,
      arch: text,
      cpus: number,
      memTotal: number,
      cgroupVersion: text,
      cgroupControllers: texts,
      serviceIsRemote: flag,
      security: maybe(v.object({ rootless: flag })),
    }),
  ),
  version: maybe(v.object({ Version: text })),
});

/** `State` of `inspect`; podman uses the same names. */
export const inspectedState = v.object({ Status: text, Running: flag, ExitCode: number, OOMKilled: flag, Error: text });
export type InspectedState = v.InferOutput<typeof inspectedState>;

/** `image inspect`: a list of one. */
export const inspectedImages = v.array(
  v.object({
    Id: text,
    Size: number,
    RepoDigests: texts,
    Config: maybe(
      v.object({ User: text, Labels: maybe(v.record(v.string(), v.string())), Volumes: maybe(v.record(v.string(), v.unknown())) }),
    ),
  }),
);

/** `inspect` of a container: the paths on this machine of its own layer and its volumes, if its storage driver has such folders. */
export const inspectedStorage = v.object({
  State: maybe(v.object({ Running: flag })),
  GraphDriver: maybe(v.object({ Data: maybe(v.object({ UpperDir: text })) })),
  Mounts: maybe(v.array(v.object({ Type: text, Source: text }))),
});

/** Returns undefined for anything that is not JSON of that shape. */
export function readEngineJson<const S extends v.GenericSchema>(schema: S, json: string): v.InferOutput<S> | undefined {
  const read = v.safeParse(schema, tryParseJson(json, LOCAL_JSON));
  return read.success ? read.output : undefined;
}
