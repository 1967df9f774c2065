/**
 * mqtt-packet keeps all 65,536 two-byte numbers as buffers, 12 MB in every process that writes one
 * packet. Making the few that are needed costs nothing that can be measured.
 */
import { writeToStream } from 'mqtt-packet';

writeToStream.cacheNumbers = false;
