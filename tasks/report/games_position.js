// A shogi position that moves are played on. It knows how pieces move only to say that a king is in check.

const BLACK = 0;
const WHITE = 16;
const PROMOTED = 8;
const DROPPED = 16;
const FIRST_DROP = 81;
const LETTERS = " PLNSGBRK";
const HAND_ORDER = [7, 6, 5, 4, 3, 2, 1];
const MAY_PROMOTE = new Set([1, 2, 3, 4, 6, 7]);
const GOLD = [[-1, -1], [0, -1], [1, -1], [-1, 0], [1, 0], [0, 1]];
const DIAGONAL = [[-1, -1], [1, -1], [-1, 1], [1, 1]];
const STRAIGHT = [[0, -1], [-1, 0], [1, 0], [0, 1]];
// By kind: single steps and lines, as Black sees them, columns from the left and rows from the top.
const STEPS = {
  1: [[0, -1]], 3: [[-1, -2], [1, -2]], 4: [[0, -1], ...DIAGONAL], 5: GOLD, 8: [...DIAGONAL, ...STRAIGHT],
  9: GOLD, 10: GOLD, 11: GOLD, 12: GOLD, 14: STRAIGHT, 15: DIAGONAL,
};
const LINES = { 2: [[0, -1]], 6: DIAGONAL, 7: STRAIGHT, 14: DIAGONAL, 15: STRAIGHT };

class Position {
  constructor() {
    this.squares = new Uint8Array(81);
    this.hands = { [BLACK]: new Uint8Array(8), [WHITE]: new Uint8Array(8) };
    this.turn = BLACK;
    this.number = 1;
  }

  // Null where the text is no SFEN.
  static ofSfen(sfen) {
    const [board, turn, hands, number] = sfen.split(" ");
    const position = new Position();
    let square = 0;
    for (const text of (board ?? "").match(/\+?[A-Za-z]|[1-9]/g) ?? []) {
      if (text >= "1" && text <= "9") square += Number(text);
      else if (square < 81) position.squares[square++] = pieceOf(text);
    }
    if (square !== 81 || !/^[bw]$/.test(turn ?? "")) return null;
    for (const [, count, letter] of (hands ?? "-").matchAll(/(\d*)([A-Za-z])/g)) {
      const piece = pieceOf(letter);
      position.hands[piece & WHITE][piece & 7] = Number(count || 1);
    }
    position.turn = turn === "b" ? BLACK : WHITE;
    position.number = Number(number ?? 1) || 1;
    return position;
  }

  get sfen() {
    const ranks = [];
    for (let rank = 0; rank < 9; rank += 1) {
      const texts = [...this.squares.subarray(9 * rank, 9 * rank + 9)].map((piece) => (piece ? letterOf(piece) : " "));
      ranks.push(texts.join("").replace(/ +/g, (gap) => String(gap.length)));
    }
    const held = [BLACK, WHITE].flatMap((side) =>
      HAND_ORDER.filter((kind) => this.hands[side][kind]).map((kind) => {
        const count = this.hands[side][kind];
        return (count > 1 ? count : "") + letterOf(kind | side);
      }),
    );
    return `${ranks.join("/")} ${this.turn === BLACK ? "b" : "w"} ${held.join("") || "-"} ${this.number}`;
  }

  copy() {
    const other = new Position();
    other.squares.set(this.squares);
    for (const side of [BLACK, WHITE]) other.hands[side].set(this.hands[side]);
    other.turn = this.turn;
    other.number = this.number;
    return other;
  }

  // 1 to 15 as on the board, 17 to 23 for a drop.
  kindOf(move) {
    const from = fromOf(move);
    return from >= FIRST_DROP ? from - FIRST_DROP + DROPPED : this.squares[from] & 15;
  }

  play(move) {
    const from = fromOf(move);
    const to = toOf(move);
    const hand = this.hands[this.turn];
    if (from >= FIRST_DROP) {
      const kind = from - FIRST_DROP;
      hand[kind] = Math.max(0, hand[kind] - 1);
      this.squares[to] = kind | this.turn;
    } else {
      const taken = this.squares[to] & 15;
      if (taken) hand[taken > PROMOTED ? taken - PROMOTED : taken] += 1;
      this.squares[to] = this.squares[from] + (promotesOf(move) ? PROMOTED : 0);
      this.squares[from] = 0;
    }
    this.turn = WHITE - this.turn;
    this.number += 1;
  }

  // The square, as the mover sees it, of the mover's which-th piece of a kind in reading order.
  find(kind, which, turned) {
    const piece = kind | this.turn;
    for (let square = 0, left = which; square < 81; square += 1) {
      if (this.squares[turned(square)] === piece && left-- === 0) return square;
    }
    throw new Error("a move of a piece that is not there");
  }

  get isCheck() {
    const king = this.squares.indexOf(8 | this.turn);
    return king >= 0 && this.squares.some((piece, from) => piece && (piece & WHITE) !== this.turn && this.attacks(from, king));
  }

  attacks(from, to) {
    const piece = this.squares[from];
    const sign = piece & WHITE ? -1 : 1;
    const across = ((to % 9) - (from % 9)) * sign;
    const down = (Math.floor(to / 9) - Math.floor(from / 9)) * sign;
    if ((STEPS[piece & 15] ?? []).some(([x, y]) => x === across && y === down)) return true;
    return (LINES[piece & 15] ?? []).some(([x, y]) => {
      const many = Math.max(Math.abs(across), Math.abs(down));
      if (!many || x * many !== across || y * many !== down) return false;
      const step = (x + 9 * y) * sign;
      for (let square = from + step; square !== to; square += step) if (this.squares[square]) return false;
      return true;
    });
  }
}

const toOf = (move) => move & 127;
const fromOf = (move) => (move >> 7) & 127;
const promotesOf = (move) => (move >> 14) & 1;

function pieceOf(text) {
  const letter = text[text.length - 1];
  const kind = LETTERS.indexOf(letter.toUpperCase()) + (text[0] === "+" ? PROMOTED : 0);
  return kind | (letter === letter.toLowerCase() ? WHITE : BLACK);
}

function letterOf(piece) {
  const kind = piece & 15;
  const letter = kind > PROMOTED ? `+${LETTERS[kind - PROMOTED]}` : LETTERS[kind];
  return piece & WHITE ? letter.toLowerCase() : letter;
}

const squareName = (square) => `${9 - (square % 9)}${"abcdefghi"[Math.floor(square / 9)]}`;

const KANJI = " 歩香桂銀金角飛玉と杏圭全 馬龍";
const KANJI_IN_MOVES = [" ", "歩", "香", "桂", "銀", "金", "角", "飛", "玉", "と", "成香", "成桂", "成銀", " ", "馬", "龍"];
const RANKS = "一二三四五六七八九";

// How a move is written. The position is the one before it, the move before it is null for none.
const NOTATIONS = {
  western(position, move) {
    const from = fromOf(move);
    const to = squareName(toOf(move));
    if (from >= FIRST_DROP) return `${LETTERS[from - FIRST_DROP]}*${to}`;
    const captures = position.squares[toOf(move)] ? "x" : "-";
    return `${letterOf(position.squares[from] & 15)}${squareName(from)}${captures}${to}${promotesOf(move) ? "+" : ""}`;
  },
  kif(position, move, before) {
    const from = fromOf(move);
    const to = toOf(move);
    const mark = position.turn === BLACK ? "▲" : "△";
    const isSame = before !== null && toOf(before) === to;
    const where = isSame ? "同" : `${9 - (to % 9)}${RANKS[Math.floor(to / 9)]}`;
    if (from >= FIRST_DROP) return `${mark}${where}${KANJI[from - FIRST_DROP]}打`;
    const piece = KANJI_IN_MOVES[position.squares[from] & 15];
    const origin = `${9 - (from % 9)}${Math.floor(from / 9) + 1}`;
    return `${mark}${where}${piece}${promotesOf(move) ? "成" : ""}(${origin})`;
  },
  usi(position, move) {
    const from = fromOf(move);
    const origin = from >= FIRST_DROP ? `${LETTERS[from - FIRST_DROP]}*` : squareName(from);
    return `${origin}${squareName(toOf(move))}${promotesOf(move) ? "+" : ""}`;
  },
};
