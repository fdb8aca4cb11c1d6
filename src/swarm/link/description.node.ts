import { parseCandidate } from './sdp.js';

export class SessionDescription {
  readonly type: 'offer' | 'answer';
  readonly sdp: string;

  constructor(init: RTCSessionDescriptionInit) {
    this.type = init.type === 'answer' ? 'answer' : 'offer';
    this.sdp = init.sdp ?? '';
  }
}

export class IceCandidate {
  readonly candidate: string;
  readonly sdpMid: string;

  constructor(init: RTCIceCandidateInit) {
    this.candidate = init.candidate ?? '';
    this.sdpMid = init.sdpMid ?? '0';
  }

  get address(): string | undefined {
    return parseCandidate(this.candidate)?.address;
  }
}
