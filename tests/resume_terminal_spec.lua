-- Ctrl-C at random moments of a training at the prompt: every time the run is there, can be looked at, and goes on, and in the
-- end it is the same as one that nobody interrupted.
local programs = require "programs"
local support = require "support"

local CTRL_C, CTRL_D = "\3", "\4"
local KINDS = 5
local MOST = 12 -- interrupts of one training

teardown(programs.remove_folders)

describe("a training that Ctrl-C stops again and again", function()
  local random = support.generator(os.time())
  local terminal

  setup(function()
    terminal = programs.open_terminal { arguments = "-i " .. programs.quote(programs.ROOT .. "/tests/trainings.lua") }
  end)
  teardown(function()
    terminal:type(CTRL_D)
    assert.equal(0, terminal:finish())
  end)

  -- Types a question until it is answered: the first ones may fall to Ctrl-C, and late ones are answered twice.
  local questions = 0
  local function ask(expression)
    questions = questions + 1
    terminal:press_until(("print('an' .. 'swer %d', %s, 'e' .. 'nd')\r"):format(questions, expression),
      ("answer %d\t"):format(questions), 5)
    local answer = terminal:expect("\tend")
    terminal:expect("> ")
    return answer
  end

  for kind = 1, KINDS do
    it("ends at the same bits: kind " .. kind, function()
      local stops = 0
      ask "rawset(_G, 'run', nil) ~= nil"
      for turn = 1, 100 do
        local started = ask "rawget(_G, 'run') ~= nil" == "true"
        if started and ask "run.stopped" == "nil" then
          if stops > 0 then break end
          started = false -- it was at its end before Ctrl-C came: once more
        end
        if started then
          stops = stops + 1
          assert.matches("^looked at step %d+$", ask "look(run)")
        end
        terminal:type(started and "run:resume()\r" or ("run = begin(%d)\r"):format(kind))
        if stops < MOST then
          os.execute(("sleep %.3f"):format(random(0, 0.15)))
          terminal:type(CTRL_C:rep(turn % 3 == 0 and 2 or 1)) -- an impatient user presses it twice
        end
      end
      assert.equal("the same bits", ask(("finish(%d)"):format(kind)))
      assert.is_true(stops > 0)
    end)
  end

  it("covers all kinds", function() assert.equal(tostring(KINDS), ask "kinds_count") end)
end)
