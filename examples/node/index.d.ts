/**
 * All records of a file as one JSON array, made by worker processes, or on a thread of libuv's where no pool can run.
 *
 * It rejects with an error that names the file, and the line if a record is broken.
 */
export function dumpFile(path: string): Promise<Buffer>;
/** The same by the same code on one thread of libuv's. */
export function dumpFileSerial(path: string): Promise<Buffer>;
/** Writes a table with this number of records, to try the other functions with. */
export function makeFile(path: string, records: number): void;
/** Why no pool can run in this process, as a sentence; `null` if one can. */
export function whyNoPool(): string | null;
/** The number of worker processes; 0 where no pool can run. */
export function workers(): number;
