/**
 * A new guest on a node whose driver makes guests: what it is, what it takes of a quota, what the
 * server says of it before it is asked, and its command followed until the guest is there. The
 * server alone decides; nothing is sent while it says no.
 */
import { useEffect, useState } from 'preact/hooks';
import type { z } from 'zod';
import type { CommandDetail } from '../../../http/routes/commands.ts';
import type { Rehearsed } from '../../../http/routes/rehearsal.ts';
import type { NodeDetail, NodeView } from '../../../http/views.ts';
import { type Page, submitCommand } from '../api.ts';
import { bytes, counted, orDash, sentence } from '../format.ts';
import { CommandState, hasEnded } from '../parts/command-list.tsx';
import { Output, Steps } from '../parts/command-steps.tsx';
import { Answer, Empty, ProblemNote } from '../parts/feedback.tsx';
import { State } from '../parts/figures.tsx';
import { useForm } from '../parts/form.ts';
import { Step } from '../parts/step.tsx';
import { Table } from '../parts/table.tsx';
import { type Query, useDryRun, useLive, useQuery } from '../query.ts';
import { mayAct } from '../session.ts';
import { Arithmetic, WhatItGets, WhatItIs } from './create/form.tsx';
import { commandOf, firstWish, type Wish } from './create/wish.ts';

type Detail = z.infer<typeof NodeDetail>;

/** Whoever types is not asked about each letter. */
const typingMs = 400;

function useSettled<T>(value: T): T {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), typingMs);
    return () => clearTimeout(timer);
  }, [value]);
  return settled;
}

function ServerSays({ of, isComplete }: { of: Query<Rehearsed>; isComplete: boolean }) {
  if (!isComplete) return <p class="faint">Image, name and size are needed first.</p>;
  if (of.problem) return <ProblemNote problem={of.problem} retry={of.reload} />;
  if (!of.data) return <p class="faint">Asking the guards …</p>;
  const { denial, checks } = of.data;
  if (denial) {
    return (
      <p class="bad-text" role="alert">
        {sentence(denial.reason)} {sentence(denial.wayOut)}
      </p>
    );
  }
  return <p class="good-text">✓ {counted(checks.length, 'guard')} asked, none objects.</p>;
}

function Following({ id, host, guest }: { id: string; host: Detail; guest: string }) {
  const command = useLive<CommandDetail>(`commands/${id}`, id);
  return (
    <section aria-label="Its way">
      <Answer of={command} what="its steps">
        {(data) => (
          <>
            <div class="heading">
              <h2>{guest}</h2>
              <CommandState state={data.state} />
            </div>
            {data.state === 'SUCCEEDED' && (
              <p class="lead" role="status">
                {guest} is made. <a href={`#/guests/${host.cluster}/${guest}`}>Look at it</a>; it
                shows with the next sample of {host.id}.
              </p>
            )}
            <Steps history={data.history} />
            <Output result={data.result} />
            <p class="buttons start">
              <a href={`#/activity/${id}`}>All of it</a>
            </p>
            {!hasEnded(data.state) && (
              <p class="faint">You may leave this page; it goes on, and stands under Activity.</p>
            )}
          </>
        )}
      </Answer>
    </section>
  );
}

function Wizard({ host }: { host: Detail }) {
  const [wish, setWish] = useState<Wish>(firstWish);
  const [sent, setSent] = useState<{ id: string; guest: string } | null>(null);
  const command = commandOf(host, wish);
  const text = useSettled(JSON.stringify(command?.body ?? null));
  const isSettled = text === JSON.stringify(command?.body ?? null);
  const said = useDryRun<Rehearsed>(
    'commands/dry-run',
    sent ? null : (JSON.parse(text) as object | null),
    { everyMs: 15_000 },
  );
  const { problem, isBusy, onSubmit } = useForm(async () => {
    if (!command) return;
    const { id } = await submitCommand(command.body);
    setSent({ id, guest: command.guest });
  });
  if (sent) {
    return (
      <>
        <Following {...sent} host={host} />
        <button type="button" class="quiet" onClick={() => setSent(null)}>
          Another one
        </button>
      </>
    );
  }
  const set = (change: Partial<Wish>): void => setWish({ ...wish, ...change });
  const isAllowed = isSettled && !said.problem && said.data?.isAllowed === true;
  const stepOf = (isDone: boolean): 'done' | 'now' => (isDone ? 'done' : 'now');
  return (
    <form onSubmit={onSubmit}>
      <ol class="plain-list guide">
        <Step number={1} title="What it is" state={stepOf(wish.name !== '' && wish.image !== '')}>
          <WhatItIs host={host} wish={wish} set={set} />
        </Step>
        <Step number={2} title="What it gets" state={stepOf(command !== null && isAllowed)}>
          <WhatItGets wish={wish} set={set} />
          <Arithmetic host={host} wish={wish} />
        </Step>
        <Step number={3} title="Make it" state={isAllowed ? 'now' : 'later'}>
          <ServerSays of={said} isComplete={command !== null} />
          {problem && <ProblemNote problem={problem} />}
          <button type="submit" disabled={!isAllowed || isBusy}>
            {isBusy ? 'Sending …' : `Make it on ${host.id}`}
          </button>
        </Step>
      </ol>
    </form>
  );
}

export function CreatePage({ cluster, node }: { cluster: string; node: string }) {
  const detail = useQuery<Detail>(`clusters/${cluster}/nodes/${node}`);
  return (
    <>
      <div class="heading">
        <a class="back" href="#/guests/new">
          ← All hosts
        </a>
        <h1>
          New guest on <span class="faint">{cluster} /</span> {node}
        </h1>
      </div>
      <Answer of={detail} what={node}>
        {(host) =>
          !mayAct.value || !host.capabilities.includes('guest.create') ? (
            <Empty title={`No guest can be made on ${node} from here`}>
              <p>
                {mayAct.value
                  ? `Its driver, ${host.driver ?? 'not known'}, makes none.`
                  : 'Your role may look, not act.'}{' '}
                <a href="#/guests">All guests</a>
              </p>
            </Empty>
          ) : (
            <Wizard host={host} />
          )
        }
      </Answer>
    </>
  );
}

export function ChooseHostPage() {
  const hosts = useQuery<Page<NodeView>>('nodes?can=guest.create&limit=1000', { everyMs: 10_000 });
  return (
    <>
      <h1>New guest: where?</h1>
      <Answer of={hosts} what="hosts">
        {({ items }) =>
          items.length === 0 ? (
            <Empty title="No host makes guests">
              <p>
                Kernreaktor makes guests on LXD and Incus. <a href="#/begin/host">Add a node</a>
              </p>
            </Empty>
          ) : (
            <Table head={['Node', 'State', { number: 'Cpus' }, { number: 'Memory free' }]}>
              {items.map((node) => (
                <tr key={`${node.cluster}/${node.id}`}>
                  <th scope="row">
                    <a href={`#/guests/new/${node.cluster}/${node.id}`}>{node.id}</a>{' '}
                    <span class="faint">{node.cluster}</span>
                  </th>
                  <td>
                    <State state={node.state} />
                  </td>
                  <td class="number">{orDash(node.cpuCount, String)}</td>
                  <td class="number">
                    {orDash(
                      node.memoryTotalBytes === null || node.memoryUsedBytes === null
                        ? null
                        : node.memoryTotalBytes - node.memoryUsedBytes,
                      bytes,
                    )}
                  </td>
                </tr>
              ))}
            </Table>
          )
        }
      </Answer>
    </>
  );
}
