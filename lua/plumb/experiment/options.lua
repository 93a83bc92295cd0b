--- The settings of an experiment, and the command line that changes them.

local argparse = require "argparse"
local text = require "plumb.experiment.text"

local options = {}

local fail = text.fail

-- ---- kinds of values ---------------------------------------------------------------------------------------------

local function to_number(value)
  return type(value) == "number" and value - value == 0 and value + 0.0 or nil
end

local function to_integer(value)
  return type(value) == "number" and math.tointeger(value) or nil
end

local function to_list(value, setting)
  if type(value) ~= "table" or #value == 0 then return nil end
  local list = {}
  for i, entry in ipairs(value) do
    list[i] = (setting.of_integers and to_integer or to_number)(entry)
    if not list[i] then return nil end
  end
  return list
end

local function split(written)
  local list = {}
  for entry in (written .. ","):gmatch("([^,]*),") do
    list[#list + 1] = tonumber(entry) or "not a number"
  end
  return list
end

-- Of each kind: what it is called, how --help shows its value, how the command line's text becomes a Lua value, and the
-- value in its own form (1 becomes 1.0 for a number; nil when it is none).
local KINDS = {
  integer = { noun = "a whole number", placeholder = "N", read = tonumber, to = to_integer },
  number = { noun = "a finite number", placeholder = "X", read = tonumber, to = to_number },
  text = { noun = "text", placeholder = "TEXT", read = tostring,
           to = function(value) return type(value) == "string" and value or nil end },
  list = { placeholder = "LIST", read = split, to = to_list },
  flag = { noun = "true or false", to = function(value) if type(value) == "boolean" then return value end end },
}

local function kind_of(default)
  local kind = type(default)
  if kind == "number" then return math.type(default) == "integer" and "integer" or "number" end
  return ({ string = "text", boolean = "flag", table = "list" })[kind]
end

local function noun(setting)
  if setting.kind ~= "list" then return KINDS[setting.kind].noun end
  return setting.of_integers and "a list of whole numbers such as 1,2,3" or "a list of numbers such as 0,0.5,1"
end

local function show(value)
  if type(value) == "boolean" then return value and "yes" or "no" end
  if type(value) == "number" then return text.number(value) end
  if type(value) == "string" then return value == "" and "none" or value end
  local entries = {}
  for i, entry in ipairs(value) do entries[i] = text.number(entry) end
  return table.concat(entries, ",")
end

local function check_length(setting, list)
  local least, most = table.unpack(setting.length or {})
  if not least or #list >= least and #list <= (most or math.huge) then return true end
  return nil, ("must be %s numbers, not %d"):format(least == most and least or most and ("%d to %d"):format(least, most)
    or "at least " .. least, #list)
end

local function check_range(setting, value)
  local list = type(value) == "table" and value or { value }
  for i, number in ipairs(list) do
    if setting.minimum and number < setting.minimum then
      return nil, ("must be at least %s"):format(text.number(setting.minimum))
    elseif setting.maximum and number > setting.maximum then
      return nil, ("must be at most %s"):format(text.number(setting.maximum))
    elseif setting.ascending and i > 1 and number <= list[i - 1] then
      return nil, ("must ascend, but %s comes after %s"):format(text.number(number), text.number(list[i - 1]))
    end
  end
  return true
end

--- options.check(setting, value) -> the value in its own form (1 becomes 1.0 for a number), or nil and what is wrong with it.
local function check(setting, value)
  local checked = KINDS[setting.kind].to(value, setting)
  if checked == nil then return nil, "must be " .. noun(setting) end
  if setting.choices then
    local found = false
    for _, choice in ipairs(setting.choices) do found = found or choice == checked end
    if not found then
      local choices = {}
      for i, choice in ipairs(setting.choices) do choices[i] = show(choice) end
      return nil, "must be one of " .. table.concat(choices, ", ")
    end
  end
  local ok, message = check_range(setting, checked)
  if ok and setting.length then ok, message = check_length(setting, checked) end
  if ok and setting.check then ok, message = setting.check(checked) end
  if not ok then return nil, message or "is not allowed" end
  return checked
end

options.check = check

-- ---- declaring ---------------------------------------------------------------------------------------------------

local FIELDS = { name = "string", help = "string", choices = "table", minimum = "number", maximum = "number",
                 ascending = "boolean", length = "table", check = "function", missing = "function", default = "any",
                 quick = "any" }
local FIELD_NAMES = {}
for name in pairs(FIELDS) do FIELD_NAMES[#FIELD_NAMES + 1] = name end
table.sort(FIELD_NAMES)

local function check_fields(given, position)
  if type(given) ~= "table" or type(given.name) ~= "string" then
    fail("experiment: settings[%d] must be a table with a name", position)
  end
  if not given.name:find("^%l[%l%d_]*$") then
    fail("experiment: setting '%s': a name is made of small letters, digits and _", given.name)
  end
  for field, value in pairs(given) do
    local expected = FIELDS[field]
    if not expected then
      fail("experiment: setting '%s' has no field '%s' (there are %s)", given.name, tostring(field),
           table.concat(FIELD_NAMES, ", "))
    elseif expected ~= "any" and type(value) ~= expected then
      fail("experiment: setting '%s': %s must be a %s, not a %s", given.name, field, expected, type(value))
    end
  end
end

local function declare_one(given)
  local setting = {}
  for field, value in pairs(given) do setting[field] = value end
  setting.kind = kind_of(given.default)
  if not setting.kind then
    fail("experiment: setting '%s': its default is a %s; it must be a number, a string, a boolean or a list of numbers",
         given.name, type(given.default))
  end
  if (given.minimum or given.maximum) and (setting.kind == "text" or setting.kind == "flag") then
    fail("experiment: setting '%s': minimum and maximum are for numbers", given.name)
  end
  if (given.ascending or given.length) and setting.kind ~= "list" then
    fail("experiment: setting '%s': ascending and length are for lists", given.name)
  end
  setting.option = "--" .. given.name:gsub("_", "-")
  if setting.kind == "list" then
    setting.of_integers = true
    for _, entry in ipairs(given.default) do
      setting.of_integers = setting.of_integers and math.type(entry) == "integer"
    end
  end
  for _, field in ipairs{ "default", "quick" } do
    if given[field] ~= nil then
      local value, message = check(setting, given[field])
      if value == nil then fail("experiment: setting '%s': its %s value %s", given.name, field, message) end
      setting[field] = value
    end
  end
  return setting
end

-- What every experiment understands. `shown` is the default in words, `placeholder` the value in --help.
local COMMON = {
  { name = "quick", default = false, help = "use the quick values: a run of seconds, to see that everything works" },
  { name = "seed", default = 1, minimum = 0, help = "the same seed gives the same bits" },
  { name = "threads", default = 1, minimum = 1, maximum = 1024, shown = "one per core",
    help = "threads to compute with; they don't change the results" },
  { name = "out", default = "runs", shown = "runs/NAME-DATE-TIME", placeholder = "DIR",
    help = "folder for what the run leaves behind",
    check = function(path) return path ~= "", "must not be empty" end },
  { name = "overwrite", default = false, help = "replace an earlier run of this experiment in the folder --out" },
  { name = "config", default = "", placeholder = "FILE",
    help = "take settings, seed and the like from a run's config.json" },
  { name = "seeds", default = 1, minimum = 1, maximum = 10000,
    help = "repeat with so many seeds, from --seed on; report mean and standard deviation" },
  { name = "resume", default = "", placeholder = "DIR",
    help = "go on with the run in DIR, which was stopped, from its last checkpoints" },
  { name = "checkpoint_every", default = 30.0, minimum = 0, help = "seconds of training between checkpoints" },
}

--- options.declare(given): checks a script's list of settings, adds those that every experiment has, and returns all;
--- the script's own carry own = true. A mistake in the declaration is an error that blames the script. common: a set of the
--- names of those to add, instead of all.
function options.declare(given, common)
  if type(given) ~= "table" then fail("experiment: settings must be a list, not a %s", type(given)) end
  local settings, taken = {}, { ["--help"] = true }
  local function add(declared, own)
    local setting = declare_one(declared)
    setting.own = own
    for _, name in ipairs{ setting.option, setting.kind == "flag" and own and "--no-" .. setting.option:sub(3) or nil } do
      if taken[name] then fail("experiment: setting '%s': there is already an option %s", setting.name, name) end
      taken[name] = true
    end
    settings[#settings + 1] = setting
  end
  for _, one in ipairs(COMMON) do
    if not common or common[one.name] then add(one, false) end
  end
  for position, one in ipairs(given) do
    check_fields(one, position)
    add(one, true)
  end
  return settings
end

-- ---- the command line --------------------------------------------------------------------------------------------

local function describe(setting)
  local notes = {}
  if setting.choices and setting.kind ~= "flag" then
    local choices = {}
    for i, choice in ipairs(setting.choices) do choices[i] = show(choice) end
    notes[1] = table.concat(choices, " or ")
  end
  if setting.own or setting.kind ~= "flag" then
    notes[#notes + 1] = "default: " .. (setting.shown or show(setting.default))
  end
  if setting.quick ~= nil then notes[#notes + 1] = "quick: " .. show(setting.quick) end
  local description = setting.help or ""
  if #notes > 0 then description = description .. " (" .. table.concat(notes, "; ") .. ")" end
  return (description:gsub("^ ", ""))
end

-- argparse's converter: the value, or nil and a message.
local function converter(setting)
  return function(written)
    local value, message = check(setting, KINDS[setting.kind].read(written))
    if value == nil then return nil, ("option %s: '%s' %s"):format(setting.option, written, message) end
    return value
  end
end

local function add_option(parser, setting)
  if setting.kind ~= "flag" then
    local placeholder = setting.placeholder or setting.choices and "NAME" or KINDS[setting.kind].placeholder
    return parser:option(setting.option):target(setting.name):argname(placeholder)
                 :description(describe(setting)):convert(converter(setting))
  end
  local negation = "--no-" .. setting.option:sub(3)
  local on = parser:flag(setting.option):target(setting.name):action("store_true"):description(describe(setting))
  if not setting.own then return on end
  local off = parser:flag(negation):target(setting.name):action("store_false"):description("the opposite")
  return on, off
end

local function make_parser(settings, program)
  local parser = argparse(program.command):add_help(false):help_max_width(80):usage_max_width(80)
  parser:usage(("Usage: %s [--option value ...]"):format(program.command)):help_usage_margin(2)
  parser:argument("words"):args("*"):hidden(true)
  if program.description then parser:description(program.description) end
  local own, common = {}, {}
  for _, setting in ipairs(settings) do
    local on, off = add_option(parser, setting)
    local group = setting.own and own or common
    group[#group + 1] = on
    group[#group + 1] = off
  end
  common[#common + 1] = parser:flag("--help -h"):description("show this and stop")
  if #own > 0 then parser:group("Settings", table.unpack(own)) end
  parser:group("Every experiment", table.unpack(common))
  return parser:help_description_margin(26)
end

local function option_names(settings)
  local names = { "--help" }
  for _, setting in ipairs(settings) do
    names[#names + 1] = setting.option
    if setting.own and setting.kind == "flag" then names[#names + 1] = "--no-" .. setting.option:sub(3) end
  end
  return names
end

-- Options with dashes for underscores, and negative numbers tied to their option, since argparse would take them for
-- options; nil and a message when an option is unknown.
local function normalise(arguments, names)
  local known, normal = { ["-h"] = true }, {}
  for _, name in ipairs(names) do known[name] = true end
  for _, argument in ipairs(arguments) do
    local name, value = argument:match("^(%-[^=]*)(.*)$")
    if argument:find("^%-%.?%d") and (normal[#normal] or ""):find("^%-%-[^=]+$") then
      normal[#normal] = normal[#normal] .. "=" .. argument
    elseif not name then
      normal[#normal + 1] = argument
    else
      name = name:gsub("_", "-")
      if not known[name] then
        local meant = text.nearest(name:gsub("^%-+", "--"), names)
        return nil, ("unknown option '%s'%s"):format(argument:match("^[^=]*"), meant and "; did you mean " .. meant .. "?" or "")
      end
      normal[#normal + 1] = name .. value
    end
  end
  return normal
end

local function asks_for_help(arguments)
  for _, argument in ipairs(arguments) do
    if argument == "--help" or argument == "-h" then return true end
  end
end

--- options.parse(settings, arguments, program): reads a command line. Returns the table of all values by name, and a table
--- that says which were given; or "help" and the text; or nil and a message. program = {command =, description =, base =
--- function(given) that returns the values which stand for defaults, or nil and a message}.
function options.parse(settings, arguments, program)
  local parser = make_parser(settings, program)
  if asks_for_help(arguments) then return "help", parser:get_help() .. "\n" end
  local normal, message = normalise(arguments, option_names(settings))
  if not normal then return nil, message end
  local ok, given = parser:pparse(normal)
  if not ok then return nil, (given:gsub("requires an argument", "needs a value")) end
  if #given.words > 0 then
    return nil, ("'%s' belongs to no option (settings are given as --name value)"):format(given.words[1])
  end
  local base
  base, message = program.base(given)
  if not base then return nil, message end
  local values = {}
  for _, setting in ipairs(settings) do
    local value = given[setting.name]
    if value == nil then value = base[setting.name] end
    if value == nil and given.quick then value = setting.quick end
    if value == nil then value = setting.default end
    values[setting.name] = value
  end
  return values, given
end

return options
