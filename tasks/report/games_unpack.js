"use strict";
// Undoes tasks/report/packed_moves.py and the table of games_section.py.

const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%.()*+-;,=>?@^_`{|}~";
const DIGIT_OF = new Uint8Array(128);
for (let digit = 0; digit < DIGITS.length; digit += 1) DIGIT_OF[DIGITS.charCodeAt(digit)] = digit;

function bytesOf(element) {
  const text = element.textContent.trim();
  const bytes = new Uint8Array((text.length / 5) * 4);
  for (let from = 0, to = 0; from < text.length; from += 5, to += 4) {
    let four = 0;
    for (let place = from; place < from + 5; place += 1) four = four * 85 + DIGIT_OF[text.charCodeAt(place)];
    bytes[to] = four >>> 24;
    bytes[to + 1] = four >>> 16;
    bytes[to + 2] = four >>> 8;
    bytes[to + 3] = four;
  }
  return bytes.subarray(0, Number(element.dataset.bytes));
}

async function unpacked(element) {
  const stream = new Blob([bytesOf(element)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// The table: { rows, every, <column>: Int32Array or Float64Array, texts: { <column>: [string] } }.
function tableOf(bytes) {
  const length = new DataView(bytes.buffer).getUint32(0, true);
  const { rows, every, columns } = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  const table = { rows, every, texts: {} };
  let begin = 4 + length;
  for (const { name, width, climbs, texts } of columns) {
    table[name] = columnOf(bytes.subarray(begin, begin + width * rows), rows, width, climbs);
    if (texts !== null) table.texts[name] = texts;
    begin += width * rows;
  }
  for (const side of ["first", "second"]) table[`${side}_time_ms`] = table[`${side}_time_ms`].map(milliseconds);
  return table;
}

function columnOf(planes, rows, width, climbs) {
  const column = new Float64Array(rows);
  let last = 0;
  for (let row = 0; row < rows; row += 1) {
    let folded = 0;
    for (let plane = width - 1; plane >= 0; plane -= 1) folded = folded * 256 + planes[plane * rows + row];
    const number = folded % 2 ? -(folded + 1) / 2 : folded / 2;
    last = climbs ? last + number : number;
    column[row] = last;
  }
  return column;
}

function milliseconds(short) {
  return (short & 0xfff) * 2 ** (short >> 12);
}

const CONTEXTS = 512;
const WHICH = 32;
const STEP = 64;
const PROMOTES = 192;
const SHARED = 208;
const TIME_HIGH = 224;
const TIME_LOW = 256;
const EVAL_KNOWN = 288;
const EVAL_HIGH = 290;
const EVAL_LOW = 292;

// The next symbol that was said in a context.
function reader(bytes) {
  const lengths = new DataView(bytes.buffer, bytes.byteOffset, 4 * CONTEXTS);
  const places = new Uint32Array(CONTEXTS);
  let begin = 4 * CONTEXTS;
  for (let context = 0; context < CONTEXTS; context += 1) {
    places[context] = begin;
    begin += lengths.getUint32(4 * context, true);
  }
  return (context) => bytes[places[context]++];
}

// The moves of a block of games: for each a Uint16Array of to | from << 7 | promotes << 14.
function movesOf(bytes, games) {
  const next = reader(bytes);
  let before = new Uint16Array(0);
  return games.map(({ start, plies }) => {
    const shared = (next(SHARED) << 8) | next(SHARED + 1);
    const moves = new Uint16Array(plies);
    const kinds = new Uint8Array(plies);
    const position = Position.ofSfen(start);
    for (let ply = 0; ply < plies; ply += 1) {
      const move = ply < shared ? before[ply] : nextMove(next, position, ply < 2 ? 0 : kinds[ply - 2]);
      kinds[ply] = position.kindOf(move);
      position.play(move);
      moves[ply] = move;
    }
    before = moves;
    return moves;
  });
}

function nextMove(next, position, kindBefore) {
  const turned = (square) => (position.turn === BLACK ? square : 80 - square);
  const kind = next(kindBefore);
  if (kind >= DROPPED) return turned(next(STEP + 4 * kind)) | ((FIRST_DROP + kind - DROPPED) << 7);
  const which = next(WHICH + kind);
  const from = position.find(kind, which, turned);
  const to = from + next(STEP + 4 * kind + Math.min(which, 3)) - 80;
  const promotes = MAY_PROMOTE.has(kind) && (from < 27 || to < 27) ? next(PROMOTES + kind) : 0;
  return turned(to) | (turned(from) << 7) | (promotes << 14);
}

// The times in milliseconds and the movers' evaluations (null for none) of a block of games.
function clocksOf(bytes, games) {
  const next = reader(bytes);
  return games.map(({ plies }) => {
    const times = [];
    const evals = [];
    for (let ply = 0; ply < plies; ply += 1) times.push(nextTime(next));
    for (let ply = 0; ply < plies; ply += 1) evals.push(nextEval(next, ply < 2 ? null : evals[ply - 2]));
    return { times, evals };
  });
}

function nextTime(next) {
  const high = next(TIME_HIGH);
  return milliseconds((high << 8) | next(TIME_LOW + Math.min(high, 31)));
}

function nextEval(next, own) {
  if (!next(EVAL_KNOWN + (own === null ? 0 : 1))) return null;
  const high = next(EVAL_HIGH);
  const folded = (high << 8) | next(EVAL_LOW + Math.min(high, 31));
  const change = folded & 1 ? ~(folded >> 1) : folded >> 1;
  return (((own ?? 0) + change) << 16) >> 16;
}
