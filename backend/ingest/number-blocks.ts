/**
 * Room for the numbers of the samples that wait for the store: blocks that are filled in order of
 * arrival and used again once the last sample of one has left. An array of its own for each sample
 * outlives the young generation, and then costs the collector more than decoding it. Whoever still
 * reads the numbers of a sample that was given back reads those of another. Pure.
 */

export type Block = { readonly numbers: Float64Array; used: number; samples: number };

export type NumberBlocks = {
  /** The one that is being filled; null before the first. */
  filling: Block | null;
  empty: Block[];
};

/** 256 KiB: a hundred samples with 20 guests each, and one with 500 fits. */
const blockNumbers = 32_768;
/** 4 MiB are kept for what comes next; what a backlog took beyond that is freed. */
const emptyMax = 16;

export const createBlocks = (): NumberBlocks => ({ filling: null, empty: [] });

function isRoomy(block: Block | null, count: number): block is Block {
  return block !== null && block.used + count <= block.numbers.length;
}

function open(blocks: NumberBlocks, count: number): Block {
  if (count > blockNumbers) return { numbers: new Float64Array(count), used: 0, samples: 0 };
  const fresh = () => ({ numbers: new Float64Array(blockNumbers), used: 0, samples: 0 });
  const block = blocks.empty.pop() ?? fresh();
  blocks.filling = block;
  return block;
}

/** A copy of the numbers, and the block to give back when it is needed no more. */
export function keep(
  blocks: NumberBlocks,
  numbers: Float64Array,
): { numbers: Float64Array; block: Block } {
  const { filling } = blocks;
  const count = numbers.length;
  const block = isRoomy(filling, count) ? filling : open(blocks, count);
  const kept = block.numbers.subarray(block.used, block.used + count);
  kept.set(numbers);
  block.used += count;
  block.samples += 1;
  return { numbers: kept, block };
}

/** One sample of the block has left. */
export function giveBack(blocks: NumberBlocks, block: Block): void {
  block.samples -= 1;
  if (block.samples > 0) return;
  block.used = 0;
  const isSpare = block !== blocks.filling && block.numbers.length === blockNumbers;
  if (isSpare && blocks.empty.length < emptyMax) blocks.empty.push(block);
}
