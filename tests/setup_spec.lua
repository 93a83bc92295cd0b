-- Setting up: what `make deps` does on machines of several kinds, `make install`, and the check of the includes.
-- No real package is installed here: deps.sh sees only the programs in a folder made for the test.
local lfs = require "lfs"
local run = require("plumb.core").process.run

local ROOT = lfs.currentdir() -- tests/run.lua makes it the root of the repository
local folder

local function read(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read("a")
  file:close()
  return text
end

local function write(path, text)
  assert.equal(0, run({ "mkdir", "-p", path:match("^(.*)/") }).code)
  local file <close> = assert(io.open(path, "wb"))
  file:write(text)
end

before_each(function() folder = run({ "mktemp", "-d" }).stdout:gsub("\n", "") end)
after_each(function() run { "rm", "-rf", folder } end)

describe("make deps", function()
  local PROGRAMS = { "gnuplot", "curl", "luacheck", "script", "strace", "valgrind", "lua5.4" }

  -- A program that writes its name and arguments to the log, runs the line `action` and then leaves.
  local function program(name, action)
    local path = folder .. "/bin/" .. name
    write(path, ("#!/bin/sh\necho %s \"$@\" >>'%s/log'\n%s\n"):format(name, folder, action or ""))
    assert.equal(0, run({ "chmod", "+x", path }).code)
  end

  -- What every machine has, the programs that plumb needs, and no package manager. Libraries are found once the file
  -- `libraries` is there.
  local function new_machine(user)
    for _, name in ipairs(PROGRAMS) do program(name) end
    program("pkg-config", ("test -e '%s/libraries'"):format(folder))
    program("id", "echo " .. user)
    run { "ln", "-s", "/usr/bin/env", "/usr/bin/touch", folder .. "/bin" }
  end

  local function add_apt(action)
    program("dpkg")
    program("apt-get", ("[ \"$DEBIAN_FRONTEND\" = noninteractive ] || exit 1\n%s"):format(action
      or ("case \"$*\" in *install*) touch '%s/libraries';; esac"):format(folder)))
  end

  local function deps()
    local result = assert(run({ "env", "PATH=" .. folder .. "/bin", "/bin/sh", ROOT .. "/tests/deps.sh" }, { timeout = 60 }))
    result.log = read(folder .. "/log") or ""
    return result
  end

  local function calls(result, name)
    local found = {}
    for line in result.log:gmatch("[^\n]+") do
      if line:find(name .. " ", 1, true) == 1 then found[#found + 1] = line end
    end
    return found
  end

  it("does nothing when all is there", function()
    new_machine(0)
    add_apt()
    write(folder .. "/libraries", "")
    local result = deps()
    assert.same({ code = 0, out = "deps: all is there\n" }, { code = result.code, out = result.stdout })
    assert.same({}, calls(result, "apt-get"))
  end)

  it("says what it installs and why, then installs just that", function()
    new_machine(0)
    add_apt()
    local result = deps()
    assert.equal(0, result.code, result.stdout .. result.stderr)
    assert.is_truthy(result.stdout:find("\n  liblua5.4-dev            Lua 5.4, the language of plumb\n", 1, true), result.stdout)
    local apt = calls(result, "apt-get")
    assert.equal(2, #apt, result.log)
    assert.is_truthy(apt[1]:find(" update$"))
    assert.is_truthy(apt[2]:find("--no-install-recommends liblua5.4-dev libopenblas-pthread-dev libreadline-dev zlib1g-dev", 1,
      true), apt[2])
    assert.is_nil(apt[2]:find("gnuplot", 1, true))
  end)

  it("uses sudo when the user is not root", function()
    new_machine(1000)
    add_apt()
    program("sudo", "exec \"$@\"")
    local result = deps()
    assert.equal(0, result.code, result.stdout .. result.stderr)
    assert.equal(2, #calls(result, "sudo"))
    assert.equal(2, #calls(result, "apt-get"))
  end)

  it("says what root should run when there is no sudo", function()
    new_machine(1000)
    add_apt()
    local result = deps()
    assert.equal(1, result.code)
    assert.is_truthy(result.stdout:find("as root, run: apt%-get install liblua5%.4%-dev"), result.stdout)
    assert.same({}, calls(result, "apt-get"))
  end)

  it("installs the others when one package can't be had", function()
    new_machine(0)
    os.remove(folder .. "/bin/strace")
    add_apt(("case \"$*\" in *strace*) exit 100;; *libreadline*) touch '%s/libraries';; esac"):format(folder))
    local result = deps()
    assert.equal(0, result.code, result.stdout .. result.stderr)
    assert.is_truthy(result.stdout:find("strace could not be installed", 1, true), result.stdout)
    assert.is_truthy(result.stdout:find("going on without: strace", 1, true), result.stdout)
  end)

  it("fails when what plumb is built on can't be had", function()
    new_machine(0)
    add_apt("exit 100")
    local result = deps()
    assert.equal(1, result.code)
    assert.is_truthy(result.stdout:find("plumb can't be built without: liblua5.4-dev", 1, true), result.stdout)
  end)

  it("names what is needed on a system without apt, and goes on when the libraries are there", function()
    new_machine(0)
    local result = deps()
    assert.equal(1, result.code)
    assert.is_truthy(result.stdout:find("no Debian-like system", 1, true))
    assert.is_truthy(result.stdout:find("  zlib1g-dev", 1, true))
    write(folder .. "/libraries", "")
    os.remove(folder .. "/bin/gnuplot")
    result = deps()
    assert.equal(0, result.code)
    assert.is_truthy(result.stdout:find("going on without: gnuplot-nox", 1, true), result.stdout)
  end)
end)

describe("make install", function()
  -- `-o plumb` takes ./plumb as it is: the program that runs this must not be built anew under its feet.
  local function make(target)
    local result = run({ "env", "-u", "MAKEFLAGS", "-u", "MFLAGS", "-u", "MAKELEVEL", "make", "-o", "plumb", target,
      "DESTDIR=" .. folder .. "/a place", "PREFIX=/opt/lab" }, { cwd = ROOT, timeout = 60 })
    assert.equal(0, result.code, result.stderr)
  end

  local function files()
    local listing = run({ "find", folder .. "/a place", "-type", "f" }).stdout
    local found = {}
    for path in listing:gmatch("[^\n]+") do found[path:sub(#folder + #"/a place/opt/lab/" + 1)] = true end
    return found
  end

  it("puts a program that runs from anywhere, its library, the scripts and the documents in their places", function()
    make("install")
    local there = files()
    for _, path in ipairs { "bin/plumb", "share/plumb/lua/plumb/init.lua", "share/plumb/lua/plumb/data/fetch.lua",
      "share/plumb/scripts/simulate_function.lua", "share/doc/plumb/LICENSE", "share/doc/plumb/README.md" } do
      assert.is_true(there[path], path)
    end
    local result = run({ folder .. "/a place/opt/lab/bin/plumb", "-e",
      "print(package.searchpath('plumb', package.path)) print(require('plumb').tensor({ 1, 2 }):sum():item())" }, { cwd = "/" })
    assert.equal(folder .. "/a place/opt/lab/share/plumb/lua/plumb/init.lua\n3.0\n", result.stdout, result.stderr)
  end)

  it("replaces an older version, and is undone by uninstall, but what users keep beside it stays", function()
    local share = folder .. "/a place/opt/lab/share/plumb/"
    write(share .. "lua/plumb/gone.lua", "-- of an older version")
    write(share .. "MNIST/raw/train-images-idx3-ubyte", "data")
    make("install")
    assert.is_nil(files()["share/plumb/lua/plumb/gone.lua"])
    make("uninstall")
    assert.same({ ["share/plumb/MNIST/raw/train-images-idx3-ubyte"] = true }, files())
  end)
end)

describe("make", function()
  it("says what to do when a library is missing", function()
    write(folder .. "/bin/pkg-config", "#!/bin/sh\nexit 1\n")
    run { "chmod", "+x", folder .. "/bin/pkg-config" }
    run { "cp", "-r", ROOT .. "/Makefile", ROOT .. "/core", ROOT .. "/bindings", folder }
    local result = run({ "sh", "-c", "unset MAKEFLAGS MFLAGS MAKELEVEL; PATH=$PWD/bin:$PATH exec make" }, { cwd = folder })
    assert.equal(2, result.code)
    assert.is_truthy(result.stderr:find("run `make deps`", 1, true), result.stderr)
  end)
end)

describe("the check of the includes", function()
  local function check(files)
    for path, text in pairs(files) do write(folder .. "/" .. path, text) end
    local result = run { "env", "-u", "LUA_INIT", "lua5.4", ROOT .. "/tests/lint_includes.lua", folder }
    return result.code, result.stdout
  end

  it("passes files that include what stands above them", function()
    local code, out = check { ["core/memory.c"] = '#include "memory.h"\n#include <stdlib.h>\n#include "fail.h"\n',
      ["core/operators_view.c"] = '#include "kernels.h"\n', ["bindings/tensor.h"] = "#include <lua.h>\n" }
    assert.same({ 0, "includes: 3 files, 0 problems\n" }, { code, out })
  end)

  for problem, case in pairs {
    ["includes \"grad.h\" (grad), which stands below node in the order"] = { "node.c", '# include "grad.h"' },
    ["includes <lua.h>, which only bindings/ does"] = { "node.h", "#include <lua.h>" },
    ["includes <lua5.4/lua.h>, which only bindings/ does"] = { "node.h", "#include <lua5.4/lua.h>" },
    ["includes <pthread.h>, which only core/pool.c does"] = { "kernel_reduce.c", "#include <pthread.h>" },
    ["calls Lua: core/ knows nothing of it"] = { "node.c", "int f(struct lua_State *L);" },
    ["includes \"../bindings/tensor.h\": core/ includes nothing from elsewhere"] =
      { "plan_run.c", '#include "../bindings/tensor.h"' },
    ["has no place in ORDER"] = { "surprise.c", "" },
  } do
    it("reports: " .. problem, function()
      local code, out = check { ["core/" .. case[1]] = "/* 1 */\n" .. case[2] .. "\n" }
      assert.equal(1, code)
      assert.is_truthy(out:find(problem, 1, true), out)
    end)
  end

  it("only warns of a long file", function()
    local code, out = check { ["lua/plumb/long.lua"] = ("\n"):rep(601) }
    assert.equal(0, code)
    assert.is_truthy(out:find("lua/plumb/long.lua: warning: 601 lines", 1, true), out)
  end)
end)
