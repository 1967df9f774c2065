/**
 * What guards and control remember beside commands: tried wakes, proving campaigns, since when the
 * engine is watched, and settings. Part of the command store's port, under the same rules.
 */
import type { CommandState } from '../../broker/contract/command.ts';
import type {
  Commands,
  Nodes,
  QuotaClaims,
  ShadowRuns,
  WakeCampaigns,
  WakeProofs,
} from './sql/schema.ts';

type Key = Pick<Nodes, 'cluster' | 'id'>;

export type RunningCampaign = Pick<WakeCampaigns, 'id' | 'cluster' | 'node'>;

/** What was promised to a guest, and how the command stands that promised it. */
export type QuotaClaim = QuotaClaims & Pick<Commands, 'finished_at_ms'> & { state: CommandState };

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
  /** A node that was emptied for its proof gets its guests back from now on. */
  fillProven(key: Key): Promise<void>;
  shadowRun(cluster: string, kind: string): Promise<ShadowRuns | undefined>;
  putShadowRun(row: Omit<ShadowRuns, 'ver'>): Promise<void>;
  putSetting(name: string, value: string): Promise<void>;
  quotaClaims(): Promise<QuotaClaim[]>;
  /** Instead of what was promised to the guest before. */
  putQuotaClaim(row: Omit<QuotaClaims, 'ver'>): Promise<void>;
  dropQuotaClaim(key: Pick<QuotaClaims, 'cluster' | 'guest'>): Promise<void>;
  /** Another command takes over what one has promised. */
  carryQuotaClaim(fromCommand: string, toCommand: string): Promise<void>;
};
