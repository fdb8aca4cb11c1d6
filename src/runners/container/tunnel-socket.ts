import { chmod } from 'node:fs/promises';
import { join } from 'node:path';
import type { Mount } from '../../containers/container-spec.js';
import { makeSocketFolder } from '../../egress/proxy.js';
import type { PeerworkError } from '../../errors.js';
import type { Tunnel } from '../../job/source.js';
import { removeTree } from '../../kit/remove-tree.js';
import { openTunnelPort, type TunnelPort } from '../tunnel-port.js';

/** Path of the tunnel's socket in a container, whatever its network is; also in `PEERWORK_TUNNEL`. */
const TUNNEL_SOCKET = '/run/peerwork/tunnel.sock';

export interface TunnelSocket {
  readonly mounts: readonly Mount[];
  readonly env: Readonly<Record<string, string>>;
  /** Ends all connections. */
  close(): Promise<void>;
}

/** Opens a unix socket to be mounted into a container: each connection to it leads to the server at the other end of the tunnel. */
export async function openTunnelSocket(tunnel: Tunnel, onError: (error: PeerworkError) => void): Promise<TunnelSocket> {
  const folder = makeSocketFolder();
  let port: TunnelPort | undefined;
  try {
    const path = join(folder, 'tunnel.sock');
    port = await openTunnelPort(tunnel, { path, onError });
    // The folder is accessible to us alone; the mounted socket is for whatever user the container runs as.
    await chmod(path, 0o666);
    const listening = port;
    return {
      mounts: [{ source: path, target: TUNNEL_SOCKET }],
      env: { PEERWORK_TUNNEL: TUNNEL_SOCKET },
      close: async () => {
        await listening.close();
        await removeTree(folder);
      },
    };
  } catch (thrown) {
    await port?.close();
    await removeTree(folder);
    throw thrown;
  }
}
