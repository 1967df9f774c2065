/**
 * What guards and control remember beside commands: tried wakes, proving campaigns, since when the
 * engine is watched, and settings. Part of the command store's port, under the same rules.
 */
import type { Nodes, ShadowRuns, WakeCampaigns, WakeProofs } from './sql/schema.ts';

type Key = Pick<Nodes, 'cluster' | 'id'>;

export type RunningCampaign = Pick<WakeCampaigns, 'id' | 'cluster' | 'node'>;

export type ControlReads = {
  runningCampaigns(): Promise<RunningCampaign[]>;
  /** The newest of the node, over or not. */
  newestCampaign(key: Key): Promise<WakeCampaigns | undefined>;
  /** Cycles of the node that were tried, newest first, at most 64. */
  wakeProofs(key: Key): Promise<WakeProofs[]>;
  setting(name: string): Promise<string | undefined>;
};

export type ControlRows = ControlReads & {
  insertWakeProof(row: WakeProofs): Promise<void>;
  campaign(id: string): Promise<WakeCampaigns | undefined>;
  insertCampaign(row: WakeCampaigns): Promise<void>;
  /** False when its version is no longer this one. */
  updateCampaign(
    seen: Pick<WakeCampaigns, 'id' | 'ver'>,
    patch: Partial<WakeCampaigns>,
  ): Promise<boolean>;
  shadowRun(cluster: string, kind: string): Promise<ShadowRuns | undefined>;
  putShadowRun(row: Omit<ShadowRuns, 'ver'>): Promise<void>;
  putSetting(name: string, value: string): Promise<void>;
};
