/** Rows of what guards and quotas remember beside commands; a part of schema.ts. Types only. */

export interface ShadowRuns {
  cluster: string;
  kind: string;
  since_ms: number;
  reason: string;
  ver: number;
}

/** `node`: where it was made or scaled. */
export interface QuotaClaims {
  cluster: string;
  guest: string;
  node: string;
  account: string | null;
  cpu_count: number;
  memory_bytes: number;
  command_id: string;
  ver: number;
}
