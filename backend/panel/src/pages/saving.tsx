/**
 * Power saving of one node, step by step: what must be true, the proof that it comes back, when it
 * may sleep by itself, and what that saves. Every step is the server's own word; this page keeps
 * nothing, so it may be left and opened again.
 */
import { useEffect } from 'preact/hooks';
import type { z } from 'zod';
import type { Rehearsed } from '../../../http/routes/rehearsal.ts';
import type { Standing } from '../../../http/routes/wake-proofs.ts';
import type { NodeDetail } from '../../../http/views.ts';
import { call } from '../api.ts';
import { drawn, duration, watts } from '../format.ts';
import { lastCommand, nodes } from '../live.ts';
import { ask, Field, PasswordAgain } from '../parts/dialog.tsx';
import { Answer, toast } from '../parts/feedback.tsx';
import { State } from '../parts/figures.tsx';
import { Step } from '../parts/step.tsx';
import { useDryRun, useQuery } from '../query.ts';
import { isAdmin, mayAct } from '../session.ts';
import { Checks, mayProve } from './saving/checks.tsx';

type Detail = z.infer<typeof NodeDetail>;
type At = { cluster: string; node: string };

const cycles = 3;
const hoursPerNight = 8;

function askProof({ cluster, node }: At, done: () => void): void {
  ask({
    title: `Prove that ${node} comes back`,
    confirm: 'Begin',
    isDangerous: true,
    body: (
      <>
        <p>
          {node} is switched off and woken {cycles} times while you stand by. It is refused when a
          guest would be lost; you may end it at any time, and the node is woken all the same.
        </p>
        <Field label={`Type ${node}`}>
          <input name="confirm" required autocomplete="off" autocapitalize="none" />
        </Field>
        <PasswordAgain />
      </>
    ),
    run: async ({ confirm, password = '' }) => {
      await call('POST', `clusters/${cluster}/nodes/${node}/wake-proofs`, {
        body: { cycles, confirm, ...(password !== '' && { password }) },
      });
      done();
    },
  });
}

async function endProof({ cluster, node }: At, done: () => void): Promise<void> {
  await call('DELETE', `clusters/${cluster}/nodes/${node}/wake-proofs`);
  toast(`${node} is not switched off again, and woken if it sleeps.`);
  done();
}

const phases: Record<string, string> = {
  off: 'switching it off',
  wake: 'waking it',
  rejoin: 'waiting until it is whole again',
};

function Proof({ at, standing, reload }: { at: At; standing: Standing; reload: () => void }) {
  const { campaign, proofs, isProven } = standing;
  const isRunning = campaign?.state === 'running';
  const best = proofs.find(({ isProof }) => isProof) ?? proofs[0];
  return (
    <>
      {isRunning && (
        <>
          <ol class="cycles" aria-label="Cycles">
            {Array.from({ length: campaign.cycles }, (_, index) => (
              <li
                key={index}
                data-state={
                  index < campaign.proven ? 'done' : index === campaign.proven ? 'now' : 'later'
                }
              >
                {index < campaign.proven
                  ? 'came back'
                  : index === campaign.proven
                    ? phases[campaign.phase]
                    : 'to come'}
              </li>
            ))}
          </ol>
          <p role="status">
            {campaign.proven} of {campaign.cycles} shown. {campaign.why}
          </p>
          <button type="button" class="quiet" onClick={() => void endProof(at, reload)}>
            End it
          </button>
        </>
      )}
      {!isRunning && isProven && best && (
        <p>
          It came back {best.succeeded} of {best.succeeded} times
          {best.bootMs !== null && (
            <>
              , awake after <strong>{duration(best.bootMs)}</strong>
            </>
          )}
          . The proof counts for 30 days.
        </p>
      )}
      {!isRunning && campaign && campaign.state !== 'succeeded' && (
        <p class="bad-text">
          The last try was {campaign.state}: {campaign.why}
        </p>
      )}
    </>
  );
}

async function setLevel(cluster: string, level: 'auto' | 'approve'): Promise<void> {
  await call('PATCH', `clusters/${cluster}`, {
    body: { autonomy: { 'node.shutdown': level, 'node.wake': level } },
  });
}

function askLevel(cluster: string, level: 'auto' | 'approve', done: () => void): void {
  ask({
    title: level === 'auto' ? `Let ${cluster} save power by itself` : 'Ask me each time',
    confirm: level === 'auto' ? 'Let it' : 'Ask me',
    body: (
      <p>
        {level === 'auto'
          ? `Proven nodes of ${cluster} are put to sleep when the rest carries their guests, and woken before they are needed. Every guard stays; each night stands under Decisions.`
          : `Each sleep and wake of ${cluster} waits under Decisions until somebody approves it.`}
      </p>
    ),
    run: async () => {
      await setLevel(cluster, level);
      done();
    },
  });
}

function askTrust({ cluster, node }: At, done: () => void): void {
  ask({
    title: 'Do not wait',
    confirm: 'I answer for it',
    isDangerous: true,
    body: (
      <>
        <p>
          The engine would be watched for seven days before it may switch a node of {cluster} off
          unasked. You end that now: the guards stay, and the first contradiction begins the watch
          anew. It is written into the audit log under your name.
        </p>
        <Field label={`Type ${cluster}`}>
          <input name="confirm" required autocomplete="off" autocapitalize="none" />
        </Field>
        <PasswordAgain />
      </>
    ),
    run: async ({ confirm, password = '' }) => {
      await call('POST', `clusters/${cluster}/nodes/${node}/end-watch`, {
        body: { confirm, ...(password !== '' && { password }) },
      });
      done();
    },
  });
}

function Automatic({ at, standing, reload }: { at: At; standing: Standing; reload: () => void }) {
  const { watch, isProven } = standing;
  const leftMs = watch.automaticAt === null ? 0 : Date.parse(watch.automaticAt) - Date.now();
  const later = (): void => void setTimeout(reload, 1_200);
  if (watch.wished !== 'auto') {
    return (
      <>
        <p>
          {watch.wished === 'approve'
            ? 'It asks a person before each sleep.'
            : 'It only says when the node could sleep.'}
        </p>
        {isAdmin.value && (
          <div class="buttons start">
            <button
              type="button"
              disabled={!isProven}
              onClick={() => askLevel(at.cluster, 'auto', later)}
            >
              Let it sleep by itself
            </button>
            {watch.wished !== 'approve' && (
              <button
                type="button"
                class="quiet"
                disabled={!isProven}
                onClick={() => askLevel(at.cluster, 'approve', later)}
              >
                Ask me each time
              </button>
            )}
          </div>
        )}
        {!isProven && <p class="faint">Once it is proven.</p>}
      </>
    );
  }
  if (leftMs > 0) {
    return (
      <>
        <p>
          <strong>Automatic in {duration(leftMs)}</strong>, because{' '}
          {watch.reason ??
            'the engine is watched for seven days before it may switch anything off unasked'}
          . Until then it asks.
        </p>
        {isAdmin.value && (
          <button type="button" class="quiet" onClick={() => askTrust(at, reload)}>
            Do not wait …
          </button>
        )}
      </>
    );
  }
  return (
    <p>
      <strong>It sleeps by itself</strong> when nobody needs it, and wakes before somebody does.
      {watch.reason !== null && <span class="faint"> The watch was {watch.reason}.</span>}
    </p>
  );
}

function Saving({ detail }: { detail: Detail }) {
  const view = nodes.get(`${detail.cluster}/${detail.id}`)?.value ?? detail;
  const declared = (detail.facts as { wattsIdle?: number | null } | null)?.wattsIdle ?? null;
  const idle = declared ?? drawn(view);
  if (idle === null) {
    return (
      <p class="faint">
        Nobody measures what it draws. A plug or the processor’s counters would tell: see the page
        on power.
      </p>
    );
  }
  const perMonth = (idle * hoursPerNight * 30) / 1_000;
  return (
    <p>
      At {watts(idle)} idle, {hoursPerNight} hours a night are{' '}
      <strong>{perMonth.toFixed(1)} kWh a month</strong>. What it really saves stands under
      Decisions from the first night on.
    </p>
  );
}

type StepsProps = {
  at: At;
  detail: Detail;
  standing: Standing;
  reload: () => void;
};

function Steps({ at, detail, standing, reload }: StepsProps) {
  const { cluster, node } = at;
  const { isProven, watch, ways, campaign } = standing;
  const isRunning = campaign?.state === 'running';
  const wish = { cluster, node, kind: 'node.shutdown', args: { mode: 'poweroff' } };
  // A node on its trial is off half of the time, and then nothing is true of it.
  const isAsked = mayAct.value && !isRunning;
  const dryRun = useDryRun<Rehearsed>('commands/dry-run', isAsked ? wish : null, {
    everyMs: 10_000,
  });
  const canProve = dryRun.data !== undefined && mayProve(dryRun.data.checks);
  const isAutomatic = isProven && watch.level === 'auto';
  return (
    <ol class="plain-list guide">
      <Step
        number={1}
        title="What must be true"
        state={canProve || isProven || isRunning ? 'done' : 'now'}
      >
        {isAsked && (
          <Answer of={dryRun} what="what the guards say">
            {({ checks }) => <Checks checks={checks} ways={ways} />}
          </Answer>
        )}
        {isRunning && <p class="faint">It was when the trial began; each cycle asks again.</p>}
      </Step>
      <Step
        number={2}
        title={`${node} comes back when it is woken`}
        state={isProven ? 'done' : canProve || isRunning ? 'now' : 'later'}
      >
        <Proof at={at} standing={standing} reload={reload} />
        {isAdmin.value && !isRunning && (
          <button
            type="button"
            class={isProven ? 'quiet' : ''}
            disabled={!canProve}
            onClick={() => askProof(at, reload)}
          >
            {isProven ? 'Prove it again' : 'Prove it'}
          </button>
        )}
        {!isProven && !isRunning && !canProve && (
          <p class="faint">Once nothing above stands against it.</p>
        )}
      </Step>
      <Step
        number={3}
        title="It sleeps by itself"
        state={isAutomatic ? 'done' : isProven ? 'now' : 'later'}
      >
        <Automatic at={at} standing={standing} reload={reload} />
      </Step>
      <Step number={4} title="What that saves" state={isAutomatic ? 'now' : 'later'}>
        <Saving detail={detail} />
      </Step>
    </ol>
  );
}

export function SavingPage({ cluster, node }: At) {
  const path = `clusters/${cluster}/nodes/${node}`;
  const detail = useQuery<Detail>(path, { everyMs: 15_000 });
  const standing = useQuery<Standing>(`${path}/wake-proofs`, { everyMs: 3_000 });
  const news = lastCommand.value;
  const { reload } = standing;
  useEffect(() => {
    if (news?.cluster === cluster) reload();
  }, [news, cluster, reload]);
  const view = nodes.get(`${cluster}/${node}`)?.value;
  return (
    <>
      <div class="heading">
        <a class="back" href={`#/nodes/${cluster}/${node}`}>
          ← {node}
        </a>
        <h1>Power saving of {node}</h1>
        {view && <State state={view.state} />}
      </div>
      <Answer of={detail} what={node}>
        {(data) => (
          <Answer of={standing} what="wake proofs">
            {(found) => (
              <Steps at={{ cluster, node }} detail={data} standing={found} reload={reload} />
            )}
          </Answer>
        )}
      </Answer>
    </>
  );
}
