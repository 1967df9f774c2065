/**
 * Power saving of one node, step by step: what must be true, the proof that it comes back, when it
 * may sleep by itself, and what that saves. Every step is the server's own word; this page keeps
 * nothing, so it may be left and opened again.
 */
import { useEffect } from 'preact/hooks';
import type { z } from 'zod';
import type { PowerSaving } from '../../../http/routes/power-saving.ts';
import type { Rehearsed } from '../../../http/routes/rehearsal.ts';
import type { Standing } from '../../../http/routes/wake-proofs.ts';
import type { NodeDetail } from '../../../http/views.ts';
import { drawn } from '../format.ts';
import { lastCommand, nodes } from '../live.ts';
import { Answer } from '../parts/feedback.tsx';
import { State } from '../parts/figures.tsx';
import { Step } from '../parts/step.tsx';
import { useDryRun, useQuery } from '../query.ts';
import { isAdmin, mayAct } from '../session.ts';
import { Automatic } from './saving/automatic.tsx';
import { Checks, mayProve } from './saving/checks.tsx';
import { askProof, type At, Proof } from './saving/proof.tsx';
import { Residents } from './saving/residents.tsx';
import { Saving } from './saving/saved.tsx';

type Detail = z.infer<typeof NodeDetail>;

type StepsProps = {
  at: At;
  detail: Detail;
  standing: Standing;
  saving: PowerSaving;
  reload: () => void;
};

/** What the machine draws with nothing to do, as far as anybody knows. */
const idleOf = (detail: Detail, view: Parameters<typeof drawn>[0]): number | null =>
  (detail.facts as { wattsIdle?: number | null } | null)?.wattsIdle ?? drawn(view);

function Conditions({ at, detail, standing, saving, reload }: StepsProps) {
  const isRunning = standing.campaign?.state === 'running';
  const isAsked = mayAct.value && !isRunning;
  const wish = { ...at, kind: 'node.shutdown', args: { mode: 'poweroff' } };
  // A node on its trial is off half of the time, and then nothing is true of it.
  const dryRun = useDryRun<Rehearsed>('commands/dry-run', isAsked ? wish : null, {
    everyMs: 5_000,
  });
  const evacuation = nodes.get(`${at.cluster}/${at.node}`)?.value.evacuation ?? detail.evacuation;
  const canProve = dryRun.data !== undefined && mayProve(dryRun.data.checks);
  const { isProven } = standing;
  return (
    <>
      <Step
        number={1}
        title="What must be true"
        state={canProve || isProven || isRunning ? 'done' : 'now'}
      >
        {isAsked && (
          <Answer of={dryRun} what="what the guards say">
            {({ checks }) => (
              <Checks checks={checks} ways={standing.ways} at={at} reload={dryRun.reload} />
            )}
          </Answer>
        )}
        {isRunning && <p class="faint">It was when the trial began; each cycle asks again.</p>}
        {!isRunning && (
          <Residents
            at={at}
            residents={saving.residents ?? []}
            evacuation={evacuation}
            reload={reload}
          />
        )}
      </Step>
      <Step
        number={2}
        title={`${at.node} comes back when it is woken`}
        state={isProven ? 'done' : canProve || isRunning ? 'now' : 'later'}
      >
        <Proof at={at} standing={standing} measured={saving.cycles} reload={reload} />
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
    </>
  );
}

function Steps(props: StepsProps) {
  const { at, detail, standing, saving, reload } = props;
  const { isProven, watch } = standing;
  const isAutomatic = isProven && watch.level === 'auto' && saving.policy.saves;
  const view = nodes.get(`${at.cluster}/${at.node}`)?.value ?? detail;
  const hasSaved = saving.saved !== null;
  return (
    <ol class="plain-list guide">
      <Conditions {...props} />
      <Step
        number={3}
        title="It sleeps by itself"
        state={isAutomatic ? 'done' : isProven ? 'now' : 'later'}
      >
        <Automatic
          at={at}
          standing={standing}
          policy={saving.policy}
          rest={saving.rest}
          reload={reload}
        />
      </Step>
      <Step
        number={4}
        title="What that saves"
        state={hasSaved ? 'done' : isAutomatic ? 'now' : 'later'}
      >
        <Saving node={at.node} saved={saving.saved} idleWatts={idleOf(detail, view)} />
      </Step>
    </ol>
  );
}

export function SavingPage({ cluster, node }: At) {
  const path = `clusters/${cluster}/nodes/${node}`;
  const detail = useQuery<Detail>(path, { everyMs: 15_000 });
  const standing = useQuery<Standing>(`${path}/wake-proofs`, { everyMs: 3_000 });
  const saving = useQuery<PowerSaving>(`${path}/power-saving`, { everyMs: 10_000 });
  const news = lastCommand.value;
  const reloads = [detail.reload, standing.reload, saving.reload] as const;
  const reload = (): void => reloads.forEach((again) => again());
  useEffect(() => {
    if (news?.cluster === cluster) reload();
  }, [news, cluster, ...reloads]);
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
              <Answer of={saving} what="what was saved">
                {(known) => (
                  <Steps
                    at={{ cluster, node }}
                    detail={data}
                    standing={found}
                    saving={known}
                    reload={reload}
                  />
                )}
              </Answer>
            )}
          </Answer>
        )}
      </Answer>
    </>
  );
}
