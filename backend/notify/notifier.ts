/**
 * Looks every ten seconds whether something is worth telling, keeps what is open in SQL, and sends
 * what is due. Level-triggered: a restart finds open what was open, tells nothing twice, and ends
 * what is over. With several backends whoever finds it first has opened it.
 */
import type { Clock, Log, NewId, Random } from '../../broker/contract/ports.ts';
import { createLoop } from '../act/loop.ts';
import { hashOf, newSecret } from '../http/secrets.ts';
import type { MetricsStore } from '../store/ports.ts';
import type { Database } from '../store/sql/database.ts';
import { createNoticeStore, type NoticeRow } from '../store/sql/notices.ts';
import type { Secrets } from '../store/sql/secrets.ts';
import { deliverDue, newDelivery, targetOf } from './deliver.ts';
import { post } from './http.ts';
import { lastNight, morningLine } from './morning.ts';
import { type PictureDeps, takePicture } from './picture.ts';
import { type Condition, judge, keyOf } from './rules.ts';
import { send } from './send.ts';
import { defaultSettings, morningOf, NotifySettings } from './settings.ts';

const roundMs = 10_000;
const actionsLastMs = 4 * 3_600_000;
const pruneEveryMs = 3_600_000;

export type NotifierDeps = Omit<PictureDeps, 'db'> & {
  database: Database;
  metrics: Pick<MetricsStore, 'range'>;
  secrets: Secrets;
  /** Under which people's phones reach this server; null: no buttons in messages. */
  publicUrl: string | null;
  /** What kernreaktor.yaml says a kWh costs, where the settings say nothing. */
  pricePerKwh: number | null;
  /** Whether all is well enough for the dead-man ping. */
  isWell(): Promise<boolean>;
  clock: Clock;
  random: Random;
  newId: NewId;
  log: Log;
};

export type Notifier = ReturnType<typeof createNotifier>;

function createKeeper(deps: NotifierDeps) {
  const { database, secrets, clock, newId, random, publicUrl, log } = deps;
  const store = createNoticeStore(database);

  const settings = async (): Promise<NotifySettings> => {
    const text = await store.settings();
    const parsed = text === null ? null : NotifySettings.safeParse(JSON.parse(text));
    return parsed?.data ?? defaultSettings;
  };

  async function actionsFor({ command_id: commandId }: NoticeRow) {
    if (commandId === null || publicUrl === null) return [];
    const verbs = [
      { verb: 'approve', label: 'Approve' },
      { verb: 'reject', label: 'Reject' },
    ] as const;
    return Promise.all(
      verbs.map(async ({ verb, label }) => {
        const token = newSecret(random);
        await store.addAction({
          token_hash: hashOf(token),
          command_id: commandId,
          verb,
          expires_at_ms: clock.wallMs() + actionsLastMs,
          used_at_ms: null,
        });
        const base = publicUrl.replace(/\/+$/, '');
        return { label, url: `${base}/api/v1/notifications/actions/${token}` };
      }),
    );
  }
  const unseal = (name: string, sealed: string): string => secrets.unseal(name, sealed);

  async function deliveriesFor(notice: string, what: 'opened' | 'resolved') {
    const atMs = clock.wallMs();
    const channels = (await store.channels()).filter((row) => row.is_enabled === 1);
    return channels.map(({ id }) =>
      newDelivery(notice, id, what, { id: newId(), atMs, dueAtMs: atMs }),
    );
  }

  async function open(condition: Condition): Promise<void> {
    const id = newId();
    const notice = {
      id,
      open_key: keyOf(condition),
      rule: condition.rule,
      severity: condition.severity,
      cluster: condition.cluster,
      title: condition.title,
      body: condition.text,
      command_id: condition.commandId ?? null,
      opened_at_ms: clock.wallMs(),
      resolved_at_ms: null,
      ver: 1,
    };
    const isNew = await store.insert(notice, await deliveriesFor(id, 'opened'));
    if (isNew) log.info({ rule: notice.rule, title: notice.title }, 'notice opened');
  }

  /** What needs no answer any more is no news: only troubles have an end worth telling. */
  const hasRecovery = ({ rule }: NoticeRow): boolean => rule !== 'morning' && rule !== 'approval';

  async function close(notice: NoticeRow): Promise<void> {
    const recoveries = hasRecovery(notice) ? await deliveriesFor(notice.id, 'resolved') : [];
    await store.resolve(notice, clock.wallMs(), recoveries);
    log.info({ rule: notice.rule, title: notice.title }, 'notice resolved');
  }

  return { store, settings, open, close, deliver: { ...deps, store, unseal, actionsFor } };
}

type Keeper = ReturnType<typeof createKeeper>;

export type Pricing = { pricePerKwh: number | null; currency: string };

async function pricingOf(deps: NotifierDeps, keeper: Keeper): Promise<Pricing> {
  const { morning } = await keeper.settings();
  return {
    pricePerKwh: morning?.pricePerKwh ?? deps.pricePerKwh,
    currency: morning?.currency ?? 'EUR',
  };
}

async function morning(deps: NotifierDeps, keeper: Keeper, open: readonly NoticeRow[]) {
  const { database, metrics, clock } = deps;
  const { morning: wanted } = await keeper.settings();
  const day = morningOf(wanted, clock.wallMs());
  const key = keyOf({ rule: 'morning', cluster: null, subject: day ?? '' });
  if (wanted === null || day === null || open.some((row) => row.open_key === key)) return key;
  const night = await lastNight(database.db, metrics, clock.wallMs());
  const title = morningLine(night, await pricingOf(deps, keeper));
  if (title === null) return key;
  const text = night.sleeps.map(({ node }) => node).join(', ');
  const about = { rule: 'morning', severity: 'info', cluster: null, subject: day } as const;
  await keeper.open({ ...about, title, text, forMs: 0 });
  return key;
}

export function createNotifier(deps: NotifierDeps) {
  const { clock, log } = deps;
  const keeper = createKeeper(deps);
  /** Since when a condition that must last is there, monotonic. */
  const seenAtMs = new Map<string, number>();
  let prunedAtMs = -Infinity;
  let pingedAtMs = -Infinity;

  const lasts = (condition: Condition): boolean => {
    const nowMs = clock.monotonicMs();
    const key = keyOf(condition);
    seenAtMs.set(key, seenAtMs.get(key) ?? nowMs);
    return nowMs - (seenAtMs.get(key) ?? nowMs) >= condition.forMs;
  };

  async function look(settings: NotifySettings): Promise<void> {
    const moment = { nowMs: clock.wallMs(), monotonicMs: clock.monotonicMs() };
    const picture = await takePicture({ ...deps, db: deps.database.db }, moment);
    const { conditions, unsure } = judge(picture);
    const told = conditions.filter(({ rule }) => settings.rules[rule] !== false);
    const keys = new Set(told.map(keyOf));
    for (const key of seenAtMs.keys()) if (!keys.has(key)) seenAtMs.delete(key);
    const open = await keeper.store.open();
    const known = new Set(open.map(({ open_key: key }) => key));
    const morningKey = await morning(deps, keeper, open);
    for (const condition of told) {
      if (lasts(condition) && !known.has(keyOf(condition))) await keeper.open(condition);
    }
    for (const notice of open) {
      const key = notice.open_key ?? '';
      const isToday = notice.rule === 'morning' && key === morningKey;
      if (!keys.has(key) && !unsure.has(key) && !isToday) await keeper.close(notice);
    }
  }

  async function ping({ deadMan }: NotifySettings): Promise<void> {
    const nowMs = clock.monotonicMs();
    if (deadMan === null || nowMs - pingedAtMs < deadMan.everyMs || !(await deps.isWell())) return;
    pingedAtMs = nowMs;
    await post({ url: deadMan.url, method: 'GET' }).catch((error: unknown) =>
      log.warn({ err: error }, 'dead-man ping not taken'),
    );
  }

  async function round(): Promise<void> {
    const settings = await keeper.settings();
    await look(settings);
    await deliverDue(keeper.deliver, settings);
    await ping(settings);
    if (clock.monotonicMs() - prunedAtMs < pruneEveryMs) return;
    prunedAtMs = clock.monotonicMs();
    await keeper.store.prune(clock.wallMs());
  }

  const loop = createLoop({ name: 'notifications', clock, log, everyMs: roundMs, round });
  return {
    store: keeper.store,
    settings: keeper.settings,
    /** What a kWh costs, as a person set it, else as kernreaktor.yaml says. */
    pricing: () => pricingOf(deps, keeper),
    seal: (name: string, plain: string): string => deps.secrets.seal(name, plain),
    /** Sends a message to this channel now. @throws NotSent with why it did not arrive */
    async test(channel: { id: string; target: string; name: string }): Promise<void> {
      const target = await targetOf(keeper.deliver, channel);
      const nowMs = clock.wallMs();
      const message = {
        id: deps.newId(),
        atMs: nowMs,
        rule: 'test',
        severity: 'info',
        title: 'Kernreaktor can reach you here',
        text: `This is a test of the channel ${channel.name}.`,
        cluster: null,
        isRecovery: false,
        actions: [],
      } as const;
      await send(target, message, nowMs);
    },
    wake: () => loop.wake(),
    start: () => loop.start(),
    stop: () => loop.stop(),
  };
}
