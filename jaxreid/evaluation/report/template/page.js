'use strict';
(() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const MARKS = ['right', 'wrong', 'distractor', 'same camera', 'junk', 'outfit'];
  const GLYPHS = ['✓', '✗', '○', '=', '–', '≈'];
  const PER_PAGE = {strips: 10, table: 25};
  const COLUMNS = [
    ['name', 'query', true], ['pid', 'id'], ['camera', 'camera'], ['frames', 'frames'],
    ['ap', 'AP'], ['hit', 'first match at'], ['taken', 'first place', true],
  ];
  const by = (id) => document.getElementById(id);
  const state = {key: 'ap', direction: 1, only: 'all', text: '', view: 'strips', page: 0};

  // One value per query and column. Queries without a match come last in every order of AP and first match.
  const columns = {
    name: (q) => data.name[data.query[q]],
    pid: (q) => data.pid[data.query[q]],
    camera: (q) => data.camera[data.query[q]],
    frames: (q) => data.frames[data.query[q]],
    ap: (q) => data.ap[q],
    hit: (q) => data.hit[q],
    taken: (q) => firstPlace(q),
  };

  function firstPlace(q) {
    const at = [...data.marks[q]].findIndex((m) => m < 3);
    return at < 0 ? 'nobody' : `${MARKS[data.marks[q][at]]}, id ${data.pid[data.items[q][at]]}`;
  }

  function element(tag, options = {}, ...children) {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(options)) {
      if (key in node) node[key] = value; else node.setAttribute(key, value);
    }
    node.append(...children);
    return node;
  }

  function selected() {
    const text = state.text.trim().toLowerCase();
    const rows = data.query.map((_, q) => q).filter((q) => {
      if (state.only === 'missed' && !(data.ap[q] >= 0 && data.hit[q] !== 1)) return false;
      if (state.only === 'hit' && data.hit[q] !== 1) return false;
      return !text || columns.name(q).toLowerCase().includes(text) || String(columns.pid(q)) === text;
    });
    const value = columns[state.key];
    const late = (q) => (['ap', 'hit'].includes(state.key) && data.ap[q] < 0 ? 1 : 0);
    rows.sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      return late(a) - late(b) || state.direction * (x < y ? -1 : x > y ? 1 : 0) || a - b;
    });
    return rows;
  }

  const jpeg = (text) => `data:image/jpeg;base64,${text}`;
  const short = (value) => value.toFixed(Math.abs(value) < 1.5 ? 3 : 2);
  const precision = (q) => (data.ap[q] < 0 ? 'no match in the gallery' : `AP ${(100 * data.ap[q]).toFixed(1)}`);

  function card(q) {
    const row = data.query[q];
    const about = `${data.name[row]}, identity ${data.pid[row]}, camera ${data.camera[row]}`;
    const head = element('div', {className: 'head'},
      element('b', {textContent: data.name[row]}),
      element('span', {textContent: `id ${data.pid[row]} · camera ${data.camera[row]} · ${data.frames[row] ? `${data.frames[row]} frames` : 'frames unknown'}`}),
      element('span', {textContent: precision(q)}),
      element('span', {textContent: data.hit[q] ? `first match at ${data.hit[q]}` : ''}));
    const line = element('div', {className: 'line'});
    const list = element('div', {className: 'list'});
    if (data.film[row]) {
      const film = element('div', {className: 'film'});
      data.film[row].forEach((text, i) => film.append(element('img', {src: jpeg(text), alt: i ? '' : `Query ${about}`})));
      line.append(film);
    }
    let rank = 0;
    data.items[q].forEach((item, i) => {
      const mark = Number(data.marks[q][i]);
      const place = mark < 3 ? `#${++rank}` : '';
      const kind = MARKS[mark];
      const frame = element('div', {className: 'frame'});
      const alt = `${place || 'not ranked'}: ${data.name[item]}, identity ${data.pid[item]}, camera ${data.camera[item]}, ${kind}`;
      if (data.film[row] && data.middle[item]) frame.append(element('img', {src: jpeg(data.middle[item]), alt}));
      else frame.append(element('span', {textContent: GLYPHS[mark], role: 'img', 'aria-label': alt}));
      list.append(element('figure', {className: `item ${kind.replace(' ', '-')}`, title: `${data.name[item]}, ${kind}`}, frame,
        element('figcaption', {}, element('b', {textContent: `${place} ${GLYPHS[mark]}`}), element('br'), `id ${data.pid[item]}`,
          element('br'), `c${data.camera[item]} ${short(data.similarity[q][i])}`)));
    });
    line.append(list);
    const out = data.leftOff[q];
    const rest = out ? [element('div', {className: 'soft', textContent:
      `${out} more of the same person and camera or outfit, or junk, in between: not ranked, not shown`})] : [];
    return element('li', {}, head, line, ...rest);
  }

  function tableRow(q) {
    const cells = COLUMNS.map(([key, , text]) => {
      let value = columns[key](q);
      if (key === 'ap') value = data.ap[q] < 0 ? '–' : (100 * value).toFixed(1);
      if (key === 'hit' || key === 'frames') value = value || '–';  // 0 frames: unknown
      return element('td', {textContent: value, className: text ? 'text' : ''});
    });
    return element('tr', {}, ...cells);
  }

  function heads() {
    by('heads').replaceChildren(...COLUMNS.map(([key, label, text]) => {
      const sorted = state.key === key;
      const button = element('button', {type: 'button', textContent: label + (sorted ? (state.direction > 0 ? ' ▲' : ' ▼') : '')});
      button.dataset.key = key;
      button.addEventListener('click', () => {
        state.direction = sorted ? -state.direction : 1;
        state.key = key;
        state.page = 0;
        draw();
        by('heads').querySelector(`[data-key=${key}]`).focus();
      });
      const head = element('th', {scope: 'col', className: text ? 'text' : ''}, button);
      if (sorted) head.setAttribute('aria-sort', state.direction > 0 ? 'ascending' : 'descending');
      return head;
    }));
  }

  function draw() {
    const rows = selected();
    const size = PER_PAGE[state.view];
    const pages = Math.max(1, Math.ceil(rows.length / size));
    state.page = Math.min(Math.max(state.page, 0), pages - 1);
    const shown = rows.slice(state.page * size, (state.page + 1) * size);
    const table = state.view === 'table';
    by('strips').hidden = table;
    by('table-box').hidden = !table;
    by('strips').replaceChildren(...(table ? [] : shown.map(card)));
    by('rows').replaceChildren(...(table ? shown.map(tableRow) : []));
    heads();
    by('sort').value = `${state.key},${state.direction}`;
    by('status').textContent = rows.length === data.query.length ? `${rows.length} queries` : `${rows.length} of ${data.query.length} queries`;
    by('page').textContent = `page ${state.page + 1} of ${pages}`;
    by('previous').disabled = state.page === 0;
    by('next').disabled = state.page === pages - 1;
  }

  function change(values) {
    Object.assign(state, {page: 0}, values);
    draw();
  }

  by('controls').addEventListener('submit', (event) => event.preventDefault());
  by('sort').addEventListener('change', (event) => {
    const [key, direction] = event.target.value.split(',');
    change({key, direction: Number(direction)});
  });
  by('only').addEventListener('change', (event) => change({only: event.target.value}));
  by('search').addEventListener('input', (event) => change({text: event.target.value}));
  document.querySelectorAll('[name=view]').forEach((radio) => radio.addEventListener('change', () => change({view: radio.value})));
  by('previous').addEventListener('click', () => change({page: state.page - 1}));
  by('next').addEventListener('click', () => change({page: state.page + 1}));
  document.getElementById('controls').reset();
  draw();
})();
