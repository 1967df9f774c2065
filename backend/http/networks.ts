/**
 * Allow and deny lists of CIDR blocks. Deny wins; an empty allow list allows everyone. Addresses
 * are judged as the trusted proxies report them; the unix socket has none and is never judged.
 */
import { BlockList, isIP } from 'node:net';

const familyOf = (address: string): 'ipv4' | 'ipv6' => (isIP(address) === 6 ? 'ipv6' : 'ipv4');

/** IPv4 mapped into IPv6 is judged as the IPv4 it is, or `::ffff:10.0.0.1` would slip past. */
const plain = (address: string): string =>
  address.toLowerCase().startsWith('::ffff:') && address.includes('.')
    ? address.slice('::ffff:'.length)
    : address;

export function blockListOf(blocks: readonly string[]): BlockList {
  const list = new BlockList();
  for (const block of blocks) {
    const [address = '', bits] = block.split('/');
    const prefix = bits === undefined ? (isIP(address) === 6 ? 128 : 32) : Number(bits);
    list.addSubnet(address, prefix, familyOf(address));
  }
  return list;
}

export const isInList = (list: BlockList, address: string): boolean =>
  list.check(plain(address), familyOf(plain(address)));

export type Networks = { mayConnect(address: string): boolean };

export function networksOf(allow: readonly string[], deny: readonly string[]): Networks {
  const allowed = blockListOf(allow);
  const denied = blockListOf(deny);
  return {
    mayConnect: (address) =>
      !isInList(denied, address) && (allow.length === 0 || isInList(allowed, address)),
  };
}

const loopback = blockListOf(['127.0.0.0/8', '::1/128']);
export const isLoopback = (address: string): boolean => isInList(loopback, address);
