--- What a page of a report is made of: figures that can do no harm, and words.
local drawing = require "plumb.experiment.report.drawing"
local words = require "plumb.experiment.report.words"

describe("figures within a page", function()
  local function svg(inside, attributes)
    return ('<?xml version="1.0"?>\n<!-- c --><svg width="80" height="48" %s xmlns="http://www.w3.org/2000/svg">%s</svg>'):format(
      attributes or "", inside)
  end

  it("scale, and keep their ids to themselves", function()
    local drawn = drawing.inline(svg([[<defs><path id='a' d='M0,0
      L1,1'/></defs><use xlink:href='#a' fill="url(#a)"/><text>x &lt; y &copy; &</text>]]), "p-", 'a "label"')
    assert.equal('<svg role="img" aria-label="a &quot;label&quot;" viewBox="0 0 80 48"><defs><path id="p-a" d="M0,0 L1,1"/></defs>'
      .. '<use href="#p-a" fill="url(#p-a)"/><text>x &lt; y &amp;copy; &amp;</text></svg>', drawn)
  end)

  it("are refused when there is something in them that runs or loads", function()
    for _, case in ipairs {
      { svg "<script>alert(1)</script>", "<script>" }, { svg '<g onload="x()"/>', "onload" }, { svg '<g ONLOAD="x()"/>', "ONLOAD" },
      { svg '<image href="http://a.b/c.png"/>', "http" }, { svg '<image xlink:href="//a.b/c.png"/>', "//a.b" },
      { svg '<image href="data:image/svg+xml;base64,AAAA"/>', "svg+xml" }, { svg "<foreignObject/>", "foreignObject" },
      { svg '<rect style="fill:url(http://a.b)"/>', "style" }, { svg '<rect style="@import x"/>', "style" },
      { svg '<use href="javascript:x"/>', "javascript" }, { svg "<style>*{}</style>", "<style>" },
      { svg '<rect a=b/>', "not readable" }, { svg "<g>", "closes nothing" }, { svg("", "") .. "\xff", "UTF-8" },
      { "<g/>", "no single <svg>" }, { "", "ends too early" }, { '<svg xmlns="x"></svg>', "size" },
      { '<svg viewBox="0 0 1 1"><g>', "ends too early" },
    } do
      local drawn, message = drawing.inline(case[1], "p-", "label")
      assert.is_nil(drawn, case[1])
      assert.is_truthy(message:find(case[2], 1, true), message)
    end
  end)
end)

describe("words of a report", function()
  it("give the command without what belongs to one folder and machine", function()
    for command, expected in pairs {
      ["./plumb scripts/a.lua --quick --out runs/x --threads 2 --overwrite --lr 0.1"] = "./plumb scripts/a.lua --quick --lr 0.1",
      ["plumb 'my script.lua' --out='a b' --title 'it'\\''s'"] = "plumb 'my script.lua' --title 'it'\\''s'",
    } do
      assert.equal(expected, words.command { command = command })
    end
    assert.is_nil(words.command {})
  end)

  it("count verdicts of several seeds", function()
    assert.same({ "holds", "✓" }, { words.mark("5 holds") })
    assert.same({ "fails", "✗" }, { words.mark("does not hold") })
    assert.same({ "mixed", "±" }, { words.mark("4 holds, 1 does not hold") })
  end)
end)
