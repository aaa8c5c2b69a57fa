'use strict';

// What the functions give, what they say of files that are no tables, and that the event loop goes on meanwhile.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const test = require('node:test');
const fastjson = require('..');
const { makeTable, records } = require('./support.js');

test('a pool runs', () => {
  assert.equal(fastjson.whyNoPool(), null);
  assert.ok(fastjson.workers() >= 1);
});

test('the outcome is that of the serial code, and of JavaScript', async (t) => {
  const table = makeTable(t, 30000);
  const json = await fastjson.dumpFile(table);
  assert.ok(json.equals(await fastjson.dumpFileSerial(table)));
  assert.deepEqual(JSON.parse(json), records(table));
});

test('short files', async (t) => {
  for (const count of [1, 500]) {
    const table = makeTable(t, count);
    assert.deepEqual(JSON.parse(await fastjson.dumpFile(table)), records(table));
  }
  assert.equal((await fastjson.dumpFile(makeTable(t, 0))).toString(), '[]');
});

test('what is wrong with a file is said', async (t) => {
  const table = makeTable(t, 30000);
  const lines = fs.readFileSync(table, 'utf8').split('\n');
  lines[20000] = 'T1,8:00,,S1,1,,0,1';
  fs.writeFileSync(table, lines.join('\n'));
  const sentence = /stop_times.txt: line 20001: "8:00" is no time; write it as 08:30:00/;
  await assert.rejects(fastjson.dumpFile(table), sentence);
  await assert.rejects(fastjson.dumpFileSerial(table), sentence);
  await assert.rejects(fastjson.dumpFile(path.join(table, 'missing')), /cannot open .*missing/);
  assert.throws(() => fastjson.dumpFile(7), /String/);
});

test('the event loop goes on meanwhile', async (t) => {
  const table = makeTable(t, 200000);
  for (const dump of [fastjson.dumpFile, fastjson.dumpFileSerial]) {
    let ticks = 0;
    const timer = setInterval(() => {
      ticks += 1;
    }, 1);
    const start = process.hrtime.bigint();
    const promise = dump(table);
    const called = Number(process.hrtime.bigint() - start) / 1e6;
    await promise;
    const took = Number(process.hrtime.bigint() - start) / 1e6;
    clearInterval(timer);
    // The call itself only hands the work over.
    assert.ok(called < took / 4, `the call took ${called} of ${took} ms`);
    assert.ok(ticks >= Math.min(5, took / 10), `${ticks} ticks in ${took} ms`);
  }
});

test('calls may overlap', async (t) => {
  const table = makeTable(t, 30000);
  const expected = await fastjson.dumpFileSerial(table);
  const outcomes = await Promise.all(Array.from({ length: 8 }, () => fastjson.dumpFile(table)));
  assert.ok(outcomes.every((json) => json.equals(expected)));
});
