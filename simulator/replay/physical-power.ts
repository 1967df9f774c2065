/** What a host of the physical world does about power; numbers, since there are many hosts. */
export const hostPower = { off: 0, on: 1, booting: 2, stopping: 3 } as const;
