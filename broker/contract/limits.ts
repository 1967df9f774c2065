/**
 * Every bound of the protocol in one place. A number that limits what crosses the wire stands
 * here and nowhere else; each says what it is derived from.
 */

/** CONNECT: two ids of 63 characters, a 64-character secret and the will fit ten times over. */
export const connectPacketBytesMax = 4 * 1024;
/** Any later packet. A guest row takes about 480 bytes, so this holds about 500 guests a node. */
export const packetBytesMax = 256 * 1024;
/** The will names one session; two ids of 63 characters and two UUIDs leave room to spare. */
export const willBytesMax = 512;
export const topicLevelsMax = 8;
export const connectTimeoutMs = 5_000;
export const preAuthSocketsPerAddressMax = 32;
export const preAuthSocketsMax = 512;
/** Publish token bucket of one daemon connection; a daemon that speaks for many nodes gets one
 * share per node. */
export const publishesPerSecondMax = 50;
export const publishBurstMax = 200;
export const keepaliveSecondsMax = 120;

export const guestsPerNodeMax = 500;
export const tagsPerGuestMax = 32;
export const tagLengthMax = 64;
export const nameLengthMax = 128;
export const textLengthMax = 512;
/** A host parks a handful of guests; the first of them say enough. */
export const leftMax = 16;
/** What one guard of a node judged by. */
export const guardFactsMax = 16;
/** Tail of a command's output that travels in a report; the executor keeps 64 KiB. */
export const outputTailLengthMax = 2_048;
export const openCommandsMax = 64;
export const nodesPerDaemonMax = 256;
export const nodesPerEnrolmentMax = 4_096;

export const sampleIntervalDefaultMs = 5_000;
export const sampleIntervalMinMs = 250;
export const sampleIntervalMaxMs = 300_000;
/** A grant is valid only this long after the claim it answers, by the daemon's monotonic clock. */
export const grantWindowMs = 10_000;
export const heartbeatIntervalMs = 10_000;
export const receiptIntervalMaxMs = 10_000;
/** Ring of 15 minutes at the default interval; beyond it samples go to the disk outbox. */
export const ringMs = 15 * 60_000;
