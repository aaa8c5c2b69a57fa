'use strict';

// What the tests share: a table, its records as JavaScript reads them, and processes that have the add-on mapped.

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { setTimeout: sleep } = require('node:timers/promises');
const fastjson = require('..');

const ADD_ON = path.join(__dirname, '..', 'fastjson.node');
const DEADLINE_MS = 60000;

/** A table in a folder of its own, which goes with the test. */
function makeTable(test, records) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'fastjson-'));
  test.after(() => fs.rmSync(folder, { recursive: true }));
  const file = path.join(folder, 'stop_times.txt');
  fastjson.makeFile(file, records);
  return file;
}

function seconds(time) {
  if (time === '') return null;
  const [hours, minutes, rest] = time.split(':').map(Number);
  return hours * 3600 + minutes * 60 + rest;
}

/** The records of a table without the add-on. */
function records(file) {
  const [header, ...lines] = fs.readFileSync(file, 'utf8').trimEnd().split('\n');
  const names = header.split(',');
  return lines.map((line) => {
    const values = line.match(/("([^"]|"")*"|[^,]*)(,|$)/g).map((value) => {
      const bare = value.replace(/,$/, '');
      return bare.startsWith('"') ? bare.slice(1, -1).replaceAll('""', '"') : bare;
    });
    const row = Object.fromEntries(names.map((name, place) => [name, values[place]]));
    return {
      trip_id: row.trip_id,
      arrival_time: seconds(row.arrival_time),
      departure_time: seconds(row.departure_time),
      stop_id: row.stop_id,
      stop_sequence: Number(row.stop_sequence),
      stop_headsign: row.stop_headsign || null,
      shape_dist_traveled: Number(row.shape_dist_traveled),
    };
  });
}

/** The processes that have a file mapped, workers and fork servers among them. */
function processesWith(file) {
  const pids = fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return pids.filter((pid) => {
    try {
      return fs.readFileSync(`/proc/${pid}/maps`, 'utf8').includes(file);
    } catch {
      return false; // It has ended.
    }
  });
}

/** Waits until a fact gives something true. */
async function waitFor(what, fact) {
  const end = Date.now() + DEADLINE_MS;
  while (Date.now() < end) {
    if (fact()) return;
    await sleep(10);
  }
  throw new Error(`after ${DEADLINE_MS} ms: ${what}`);
}

module.exports = { ADD_ON, DEADLINE_MS, makeTable, processesWith, records, waitFor };
