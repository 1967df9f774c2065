import { expect, it } from 'vitest';
import { remembered } from '../../../backend/act/remembered.ts';

it('answers a text once, also with null, and anew when it was full', () => {
  const asked: string[] = [];
  const answer = remembered(2, (text) => {
    asked.push(text);
    return text === '' ? null : { text };
  });
  expect(answer('')).toBeNull();
  expect(answer('')).toBeNull();
  expect(answer('a')).toBe(answer('a'));
  expect(asked).toEqual(['', 'a']);
  answer('b');
  expect(answer('')).toBeNull();
  expect(asked).toEqual(['', 'a', 'b', '']);
});

it('shares what nobody can change', () => {
  const answer = remembered(2, (text) => ({ list: [{ text }] }));
  const first = answer('a');
  expect(() => first.list.push({ text: 'b' })).toThrow(TypeError);
  expect(() => Object.assign(first.list[0] ?? {}, { text: 'b' })).toThrow(TypeError);
  expect(answer('a')).toEqual({ list: [{ text: 'a' }] });
});
