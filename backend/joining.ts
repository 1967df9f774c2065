/**
 * What the panel may ask of the process around the server when somebody begins: to look at a
 * Proxmox VE cluster by its API, to run a daemon of its own for it, or to start the demo. The
 * backend knows neither daemons nor the simulator; who composes the process passes these. Types
 * only.
 */

export type ProxmoxEndpoint = {
  /** `https://pve1.lan:8006` of one or several members. */
  urls: readonly string[];
  tokenId: string;
  tokenSecret: string;
  /** SHA-256 per URL that a person compared, 64 lower-case hex digits; empty: none yet. */
  fingerprints: readonly string[];
};

export type JoinFinding = {
  check: string;
  state: 'fine' | 'note' | 'wrong';
  subject: string;
  detail: string;
  /** Lines to type. */
  fix: readonly string[];
};

export type ProxmoxLook = {
  /** Members whose certificate nobody vouches for; the token was not shown to them. */
  certificates: readonly { url: string; fingerprint: string }[];
  findings: readonly JoinFinding[];
  /** null: it cannot be read, and the findings say why. */
  cluster: { name: string; nodes: readonly string[]; guestCount: number } | null;
};

export type Joining = {
  lookAtProxmox(endpoint: ProxmoxEndpoint): Promise<ProxmoxLook>;
  /** Runs a daemon that speaks for these nodes, now and after every start. */
  joinProxmox(order: {
    cluster: string;
    nodes: readonly string[];
    endpoint: ProxmoxEndpoint;
    /** Of the enrolment. */
    token: string;
  }): Promise<void>;
  demo: { isRunning(): boolean; start(): Promise<void> };
};
