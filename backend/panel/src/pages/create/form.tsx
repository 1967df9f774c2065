/** What a new guest shall be, and what it takes of a quota, with the sum written out. */
import type { z } from 'zod';
import type { OwnQuota } from '../../../../http/routes/quotas.ts';
import type { NodeDetail } from '../../../../http/views.ts';
import { dash } from '../../format.ts';
import { Field } from '../../parts/dialog.tsx';
import { Answer } from '../../parts/feedback.tsx';
import { Table } from '../../parts/table.tsx';
import { gibibytes, Taken } from '../../parts/quota.tsx';
import { useQuery } from '../../query.ts';
import { amountOf, guestIdOf, namePattern, type Wish } from './wish.ts';

type Host = z.infer<typeof NodeDetail>;

type Setting = { wish: Wish; set: (change: Partial<Wish>) => void };

/** Of the public server that LXD itself names `images:`. */
const images = ['debian/12', 'ubuntu/24.04', 'almalinux/9'].map(
  (alias) => `https://images.lxd.canonical.com/${alias}`,
);

const kinds = [
  ['container', 'Container', 'shares the kernel of its host, starts in seconds'],
  ['vm', 'Virtual machine', 'has a kernel of its own'],
] as const;

export const WhatItIs = ({ host, wish, set }: Setting & { host: Host }) => (
  <>
    <fieldset class="targets">
      <legend class="faint">Kind</legend>
      {kinds.map(([kind, name, says]) => (
        <label key={kind} class="target">
          <input
            type="radio"
            name="kind"
            value={kind}
            checked={wish.kind === kind}
            onChange={() => set({ kind })}
          />
          <span>
            <strong>{name}</strong> <span class="faint">{says}</span>
          </span>
        </label>
      ))}
    </fieldset>
    <Field
      label="Image"
      hint={`An alias or fingerprint that ${host.id} has, or https://server/alias, https://server/path#alias.`}
    >
      <input
        name="image"
        required
        list="images"
        autocomplete="off"
        autocapitalize="none"
        spellcheck={false}
        value={wish.image}
        onInput={(event) => set({ image: event.currentTarget.value })}
      />
      <datalist id="images">
        {images.map((image) => (
          <option key={image} value={image} />
        ))}
      </datalist>
    </Field>
    <Field
      label="Name"
      hint={
        wish.name === '' || guestIdOf(host, wish.name) === wish.name
          ? 'Letters, digits and -'
          : `Letters, digits and -. Known here as ${guestIdOf(host, wish.name)}`
      }
    >
      <input
        name="name"
        required
        pattern={namePattern(host)}
        autocomplete="off"
        autocapitalize="none"
        spellcheck={false}
        value={wish.name}
        onInput={(event) => set({ name: event.currentTarget.value })}
      />
    </Field>
  </>
);

export const WhatItGets = ({ wish, set }: Setting) => (
  <>
    <div class="pair">
      <Field label="Virtual cpus">
        <input
          name="cpuCount"
          type="number"
          required
          min={1}
          max={8_192}
          value={wish.cpuCount}
          onInput={(event) => set({ cpuCount: event.currentTarget.value })}
        />
      </Field>
      <Field label="Memory, GiB">
        <input
          name="memory"
          type="number"
          required
          min={0.0625}
          step="any"
          value={wish.memoryGibibytes}
          onInput={(event) => set({ memoryGibibytes: event.currentTarget.value })}
        />
      </Field>
      <Field label="Disk, GiB" hint="Empty: as its profile says.">
        <input
          name="disk"
          type="number"
          min={1}
          step="any"
          value={wish.diskGibibytes}
          onInput={(event) => set({ diskGibibytes: event.currentTarget.value })}
        />
      </Field>
    </div>
    <label class="check">
      <input
        name="isStarted"
        type="checkbox"
        checked={wish.isStarted}
        onChange={(event) => set({ isStarted: event.currentTarget.checked })}
      />{' '}
      Start it at once
    </label>
  </>
);

type SumProps = {
  name: string;
  taken: number;
  more: number | null;
  max: number | null;
  textOf: (value: number) => string;
};

const Sum = ({ name, taken, more, max, textOf }: SumProps) => (
  <tr>
    <th scope="row">{name}</th>
    <td class="number">{textOf(taken)}</td>
    <td class="number">{more === null ? dash : `+ ${textOf(more)}`}</td>
    <td>{more === null ? dash : <Taken taken={taken + more} max={max} textOf={textOf} />}</td>
  </tr>
);

/** The person's own limit; those of clusters and of all are in what the server says. */
export function Arithmetic({ host, wish }: { host: Host; wish: Wish }) {
  const own = useQuery<OwnQuota>('quotas/mine', { everyMs: 10_000 });
  const { cpuCount, memoryBytes } = amountOf(wish);
  return (
    <Answer of={own} what="your quota">
      {({ limit, limitOnLxd, taken, takenOnLxd }) => {
        const isOnLxd = limit === null && host.driver === 'lxd';
        const holds = limit ?? (isOnLxd ? limitOnLxd : { cpuCount: null, memoryBytes: null });
        const before = isOnLxd ? takenOnLxd : taken;
        return (
          <Table
            head={['Your quota', { number: 'You have' }, { number: 'This guest' }, 'Together']}
          >
            <Sum
              name="Virtual cpus"
              taken={before.cpuCount}
              more={cpuCount}
              max={holds.cpuCount}
              textOf={String}
            />
            <Sum
              name="Memory"
              taken={before.memoryBytes}
              more={memoryBytes}
              max={holds.memoryBytes}
              textOf={gibibytes}
            />
          </Table>
        );
      }}
    </Answer>
  );
}
