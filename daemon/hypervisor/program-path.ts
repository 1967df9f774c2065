/** How daemon.yaml names a program of the administrator: by its absolute path, nothing else. */
import { isAbsolute } from 'node:path';
import { z } from 'zod';

export const program = z.string().refine(isAbsolute, 'write the absolute path of a program');
