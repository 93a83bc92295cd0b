--- The look of a report: for screens from a phone's to a desk's, light and dark, and for A4 paper.
-- Text stands in a column of at most 40rem; figures may be as wide as gnuplot draws them (800 px). On a phone they keep a width
-- at which their letters can be read, and scroll. The marks of verdicts differ in sign, word and border, not by colour alone.
return [[
:root { color-scheme: light dark; --ink: #1b1f24; --faint: #57606a; --paper: #fdfdfb; --line: #d8dcd9; --shade: #f3f4f0;
  --link: #0b57a0; --good: #14663a; --bad: #9c1c1c; --open: #6b4a00;
  --text: Charter, "Bitstream Charter", "Sitka Text", "Noto Serif", Cambria, Georgia, serif;
  --plain: system-ui, -apple-system, "Segoe UI", "Noto Sans", "Helvetica Neue", Arial, sans-serif;
  --fixed: ui-monospace, "SF Mono", "Cascadia Mono", "DejaVu Sans Mono", Menlo, Consolas, monospace; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e3e6e8; --faint: #a0a9b1; --paper: #15181b; --line: #363d43; --shade: #1f2428; --link: #82bdf5;
    --good: #7fd3a0; --bad: #f29a93; --open: #e6c26a; }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; scroll-padding-top: 1rem; }
body { margin: 0; color: var(--ink); background: var(--paper); font: 1.0625rem/1.6 var(--text); font-kerning: normal;
  text-rendering: optimizeLegibility; }
main { max-width: 54rem; margin: 0 auto; padding: 0 1.25rem 4rem; }
p { margin: 0 0 .8rem; max-width: 42rem; text-wrap: pretty; hanging-punctuation: first; }
a { color: var(--link); text-decoration: none; }
a:hover { text-decoration: underline; text-underline-offset: .15em; }
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
code { font: .86em/1.5 var(--fixed); }
sup { font-size: .7em; line-height: 0; }
nav { display: none; }

header { padding: 3.5rem 0 1.5rem; border-bottom: 3px solid var(--ink); }
.kicker { font: 600 .8rem/1.4 var(--plain); letter-spacing: .08em; text-transform: uppercase; color: var(--faint);
  margin: 0 0 .6rem; }
h1 { font-size: clamp(1.9rem, 1.3rem + 2.6vw, 2.9rem); line-height: 1.12; font-weight: 700; letter-spacing: -.012em;
  margin: 0 0 .7rem;
  max-width: 20em; text-wrap: balance; }
.subtitle { font-size: 1.2rem; line-height: 1.45; color: var(--faint); margin-bottom: 1.1rem; }
.aside { font: .875rem/1.55 var(--plain); color: var(--faint); }
header .aside:last-child { margin: 0; }
h2 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .7rem; letter-spacing: -.008em; text-wrap: balance; }
h2 a { color: inherit; }
h2 b { color: var(--faint); font-weight: 400; margin-right: .3em; font-variant-numeric: lining-nums; }
h3 { font: 600 .8rem/1.4 var(--plain); letter-spacing: .06em; text-transform: uppercase; color: var(--faint);
  margin: 2rem 0 .7rem; }
section { padding-top: 2.8rem; }
section.experiment { margin-top: 3rem; border-top: 1px solid var(--line); }
#contents + section.experiment { margin-top: 0; border-top: 0; }
.question { font-size: 1.2rem; line-height: 1.45; font-style: italic; }

.mark { display: inline-block; font: 600 .78rem/1.35 var(--plain); white-space: nowrap; padding: .1em .55em .12em;
  border-radius: .3em;
  border: 1.5px solid currentColor; }
.mark > span { display: inline-block; min-width: .8em; text-align: center; }
.mark.holds { color: var(--paper); background: var(--good); border-color: var(--good); }
.mark.fails { color: var(--bad); }
.mark.open, .mark.mixed { color: var(--open); border-style: dashed; }
.mark.failed { color: var(--paper); background: var(--bad); border-color: var(--bad); border-radius: 0; }

ol.contents { list-style: none; margin: 1.2rem 0 0; padding: 0; }
ol.contents > li { border-top: 1px solid var(--line); padding: .65rem 0 .7rem; break-inside: avoid; }
ol.contents > li:last-child { border-bottom: 1px solid var(--line); }
.entry { display: flex; align-items: baseline; gap: 1rem; font-size: 1.125rem; }
.entry a { display: flex; font-weight: 600; color: var(--ink); line-height: 1.35; }
.entry b { flex: none; width: 2.7rem; color: var(--faint); font-weight: 400; }
.took { margin-left: auto; font: .875rem/1.4 var(--plain); color: var(--faint); white-space: nowrap;
  font-variant-numeric: tabular-nums; }
ol.contents ul { list-style: none; margin: .45rem 0 0 2.7rem; padding: 0; }
ol.contents ul li { display: grid; grid-template-columns: 8.7rem 1fr; gap: .8rem; align-items: baseline; margin: .3rem 0;
  font-size: .97rem; line-height: 1.45; }
ol.contents ul .mark { justify-self: start; white-space: normal; }
ol.contents ul a { color: var(--ink); }

.verdicts { list-style: none; margin: 0; padding: 0; max-width: 46rem; }
.verdicts li { display: grid; grid-template-columns: 8.7rem 1fr; gap: 0 1.1rem; align-items: baseline; padding: .7rem 0;
  border-top: 1px solid var(--line); break-inside: avoid; }
.verdicts li:last-child { border-bottom: 1px solid var(--line); }
.verdicts li:target, ol.contents li:target { background: var(--shade); }
.verdicts .mark { justify-self: start; white-space: normal; }
.verdicts p { margin: 0; grid-column: 2; }
.verdicts .evidence { font: .875rem/1.5 var(--plain); color: var(--faint); margin-top: .15rem;
  font-variant-numeric: tabular-nums; }

figure { margin: 0 0 2rem; break-inside: avoid; }
.plot { background: #fff; border: 1px solid var(--line); border-radius: .3rem; overflow-x: auto; padding: .35rem; }
.plot svg { display: block; width: 100%; height: auto; }
figcaption { font-size: .97rem; line-height: 1.5; margin-top: .5rem; max-width: 42rem; }
figcaption b { font: 600 .875rem/1.5 var(--plain); margin-right: .35em; }
.missing { padding: 1rem; background: var(--shade); }

table { border-collapse: collapse; font: .9rem/1.45 var(--plain); font-variant-numeric: tabular-nums lining-nums; }
th { text-align: left; font-weight: 400; }
thead th { font-weight: 600; font-size: .8rem; color: var(--faint); border-bottom: 1.5px solid var(--ink); }
td, th { padding: .38rem 1.1rem .38rem 0; vertical-align: baseline; border-bottom: 1px solid var(--line); }
td:last-child { padding-right: 0; }
tr { break-inside: avoid; }
thead { display: table-header-group; }
.numbers { width: 100%; }
.numbers .number { text-align: right; white-space: nowrap; font-weight: 600; }
.numbers .word { font-weight: 600; }
.numbers thead th:nth-child(2) { text-align: right; }
.each { display: block; font-size: .8rem; color: var(--faint); }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)); gap: 0 3rem; }
.settings { width: 100%; }
.settings th { color: var(--faint); }
.settings td { text-align: right; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content 1fr; margin: 0; font: .9rem/1.5 var(--plain); }
dt, dd { padding: .34rem 0; border-bottom: 1px solid var(--line); margin: 0; }
dt { color: var(--faint); padding-right: 1.1rem; }
dd { overflow-wrap: anywhere; }
.whole { white-space: nowrap; }
.failure { border-left: 4px solid var(--bad); padding: .2rem 0 .2rem 1rem; margin: 1rem 0; }
pre { font: .86rem/1.5 var(--fixed); white-space: pre-wrap; overflow-wrap: anywhere; margin: 0 0 .8rem; }
footer { margin-top: 4rem; padding-top: 1rem; border-top: 3px solid var(--ink); font: .875rem/1.5 var(--plain);
  color: var(--faint); overflow-wrap: anywhere; }

@media (min-width: 76rem) {
  body { display: grid; grid-template-columns: 15rem minmax(0, 1fr); }
  main { margin: 0; padding-left: 3.5rem; width: 100%; max-width: 57.5rem; }
  nav { display: block; position: sticky; top: 0; height: 100vh; overflow-y: auto; padding: 3.6rem 0 2rem 1.5rem;
    border-right: 1px solid var(--line); font: .875rem/1.4 var(--plain); }
  nav a { display: flex; color: var(--faint); padding: .3rem 1rem .3rem 0; }
  nav a:hover { color: var(--ink); }
  nav strong { color: var(--ink); }
  nav b { flex: none; min-width: 2.2rem; font-weight: 400; }
}
@media (max-width: 40rem) {
  body { font-size: 1rem; }
  header { padding-top: 2rem; }
  .plot { margin: 0 -1.25rem; border-width: 1px 0; border-radius: 0; padding: .35rem 1.25rem;
    background: linear-gradient(90deg, #fff 30%, #fff0) 0 0 / 3rem 100% no-repeat local,
      linear-gradient(270deg, #fff 30%, #fff0) 100% 0 / 3rem 100% no-repeat local,
      linear-gradient(90deg, #0004, #0000) 0 0 / 1rem 100% no-repeat, /* a shadow on each side where there is more */
      linear-gradient(270deg, #0004, #0000) 100% 0 / 1rem 100% no-repeat, #fff; }
  .plot svg { min-width: 34rem; mix-blend-mode: multiply; }
  .verdicts li, ol.contents ul li { grid-template-columns: 1fr; gap: .2rem; }
  .verdicts p { grid-column: 1; }
  ol.contents ul { margin-left: 0; }
  ol.contents ul li { margin: .55rem 0; }
  .numbers thead { display: none; }
  .numbers tr { display: grid; grid-template-columns: 1fr auto; border-bottom: 1px solid var(--line); padding: .4rem 0; }
  .numbers th, .numbers td { border: 0; padding: 0; }
  .numbers td:last-child { grid-column: 1 / -1; color: var(--faint); }
}
@page { size: A4; margin: 17mm 18mm; }
@media print {
  :root { color-scheme: light; --ink: #000; --faint: #444; --paper: #fff; --line: #bbb; --shade: #eee; --link: #000;
    --good: #14663a;
    --bad: #9c1c1c; --open: #6b4a00; }
  html { font-size: 9pt; }
  p, figcaption, .verdicts { max-width: none; }
  body { display: block; font-size: 10pt; line-height: 1.4; }
  main { max-width: none; padding: 0; }
  nav { display: none; }
  header { padding-top: 0; }
  h1 { font-size: 24pt; }
  h2 { font-size: 17pt; }
  h2, h3, figcaption, .question { break-after: avoid; break-inside: avoid; }
  figcaption { break-before: avoid; break-after: auto; }
  section.experiment { break-before: page; border: 0; margin: 0; padding: 0; }
  section { padding-top: 1.2rem; }
  h3 { margin-top: 1.2rem; }
  ol.contents > li { padding: .3rem 0 .35rem; }
  .entry { font-size: 11pt; }
  ol.contents ul { margin-top: .15rem; }
  ol.contents ul li { font-size: 9.5pt; line-height: 1.35; margin: .1rem 0; grid-template-columns: 9.6rem 1fr; }
  ol.contents .mark { font-size: 7.5pt; }
  figure { margin-bottom: 1.1rem; }
  .plot { overflow: visible; border: 0; padding: 0; margin: 0; }
  .plot svg { width: auto; max-width: 100%; min-width: 0; max-height: 74mm; margin: 0 auto; }
  .plot.tall svg { max-height: 130mm; }
  .mark { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  .facts, dl, .settings, footer { break-inside: avoid; }
  footer { margin-top: 1.5rem; border-width: 1px; font-size: 8pt; break-before: avoid; }
  .facts { grid-template-columns: 1fr 1fr; break-before: avoid; }
  .numbers tr { break-inside: avoid; }
  .numbers tbody tr:nth-last-child(-n+4) { break-before: avoid; }
  .settings tbody { display: grid; grid-template-columns: 1fr 1fr; gap: 0 1.2rem; }
  .settings tr { display: flex; justify-content: space-between; gap: .8rem; border-bottom: 1px solid var(--line); }
  .settings tr.wide { grid-column: 1 / -1; }
  .settings th, .settings td { border: 0; }
  .settings tr:not(.wide) td { white-space: nowrap; }
  table, dl { font-size: 8.5pt; }
  p { orphans: 3; widows: 3; }
}
]]
