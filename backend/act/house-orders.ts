/** What people may ask and say about Kernreaktor's own house; their answer is kept for good. */
import { appendEntry, systemChain } from '../audit/entry.ts';
import { readHouse } from './guard-surroundings.ts';
import { type House, type HouseAnswer, houseSetting } from './house.ts';
import type { Context } from './step.ts';

export const houseNow = async (context: Context): Promise<House> =>
  readHouse(context, await context.store.reads.setting(houseSetting));

/** The same answer again changes nothing, so that a setting may say it at every start. */
export async function answerHouse(
  context: Context,
  answer: HouseAnswer,
  actor: string,
): Promise<void> {
  const value = JSON.stringify(answer);
  await context.store.transaction(async (rows) => {
    if ((await rows.setting(houseSetting)) === value) return;
    await rows.putSetting(houseSetting, value);
    await appendEntry(rows, {
      chain: systemChain,
      actor,
      action: 'house.answered',
      subject: 'own-house',
      phase: 'done',
      detail: { places: answer },
      atMs: await rows.nowMs(),
    });
  });
}
