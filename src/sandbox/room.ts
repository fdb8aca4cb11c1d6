/** What a program sees and may use. All paths are absolute, with links resolved. */
export interface Room {
  /** Its own folder: the only one that it can write to, and its working directory. Where programs get a uid of their own, it is given to that uid. */
  readonly workdir: string;
  /** Files and folders that it can read, besides Node and the system's libraries. */
  readonly readable: readonly string[];
  /** Files and folders that it finds elsewhere in the sandbox than they are; readable. In the tier process they stay where they are. */
  readonly placed?: readonly { readonly source: string; readonly target: string }[];
  /** All that it sees of the environment. */
  readonly environment: Readonly<Record<string, string>>;
}
