/**
 * A WebRTC engine with the interface that simple-peer calls `wrtc`. In a browser `globalThis` is one; in Node it is `createNodeEngine()`,
 * or any other `wrtc` package (`@roamhq/wrtc`) that the user chooses.
 */
export interface WebRtcEngine {
  readonly RTCPeerConnection: new (config?: RTCConfiguration) => EngineConnection;
  readonly RTCSessionDescription: new (init: RTCSessionDescriptionInit) => object;
  readonly RTCIceCandidate: new (init: RTCIceCandidateInit) => object;
}

/** The part of a connection that the link itself uses; simple-peer uses more. */
export interface EngineConnection {
  readonly localDescription: { readonly sdp: string } | null;
  createDataChannel(label: string, options?: RTCDataChannelInit): EngineChannel;
  addEventListener(type: 'datachannel', listener: (event: { readonly channel: EngineChannel }) => void): void;
  getStats(): Promise<Iterable<[string, unknown]>>;
}

export interface EngineChannel {
  readonly bufferedAmount: number;
  bufferedAmountLowThreshold: number;
  onbufferedamountlow: unknown;
}
