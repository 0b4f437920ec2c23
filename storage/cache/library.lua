#!lua name=warmbars
-- version 2: raise it with every change, storage/cache/library.py compares it.
-- docs/cache-contract.md explains the keys. A script that fails midway is not rolled back, so every function
-- checks whatever it can fail on before its first write.
--
-- A large body does not pass through here: copying it into Lua and out again costs more than all the rest. The
-- publisher puts it under its key + '~' with a plain HSET, in the same MULTI as the call, and wb_publish renames it
-- into place or drops it; no '~' key is left behind either way.

local EXACT = 9007199254740992 -- 2^53: below it a Lua number holds every whole number
local MOST_BODIES = 1000
local OWN = {head = true, epoch = true, version = true, as_of = true, run = true, refused = true} -- names of no body
local HEAD_FIELDS = 5 -- the last five of these, always in a head

-- The number a canonical decimal ("0", "17") stands for, or nil.
local function whole(text)
  local n = text and #text <= 16 and string.find(text, '^%d+$') and tonumber(text)
  if n and n < EXACT and string.format('%.0f', n) == text then return n end
  return nil
end

local function wrong(text)
  return redis.error_reply('WBARGS ' .. text .. '; nothing was published')
end

-- What is wrong with the call as a whole, or nil.
local function wrong_call(keys, args, prefix)
  if not prefix then return 'the first key is no head: ' .. tostring(keys[1]) end
  local n = (#args - 5) / 4
  if n < 0 or n ~= math.floor(n) or n > MOST_BODIES or #keys < n + 1 or #keys > 2 * n + 1 then
    return 'five arguments, four for each body, and at most ' .. MOST_BODIES .. ' bodies are expected'
  end
  if not whole(args[1]) then return 'epoch is not a whole number below 2^53: ' .. args[1] end
  if not whole(args[2]) then return 'version is not a whole number below 2^53: ' .. args[2] end
  if not string.find(args[3], '^%d%d%d%d%-%d%d%-%d%dT[%d:.]+Z$') then return 'as_of is no UTC time: ' .. args[3] end
  return nil
end

-- The bodies announced: their names (what follows the symbol), by position the keys of those that are staged, and by
-- position the version at which the head must be for those that stay as they are. Or nil, nil, nil and what is wrong.
local function read_bodies(keys, args, prefix)
  local names, staged, standing, n, from = {}, {}, {}, (#args - 5) / 4, #prefix + 1
  local next_staged = n + 2
  for i = 1, n do
    local key, a = keys[i + 1], 4 * i + 2
    local name = string.sub(key, from)
    if string.find(key, prefix, 1, true) ~= 1 or OWN[name] then return nil, nil, nil, 'no body key: ' .. key end
    if args[a] == '' and whole(args[a + 1]) then
      standing[i] = tonumber(args[a + 1])
    elseif #args[a] ~= 32 then
      return nil, nil, nil, 'etag is not 32 hex digits: ' .. key
    elseif args[a + 1] == '' or args[a + 2] == '' then
      if keys[next_staged] ~= key .. '~' then
        return nil, nil, nil, 'neither encoding and type nor a staged key: ' .. key
      end
      staged[i], next_staged = keys[next_staged], next_staged + 1
    end
    names[i] = name
  end
  if next_staged <= #keys then return nil, nil, nil, 'a staged key without its body: ' .. keys[next_staged] end
  if string.find(table.concat(names), '[^%w_.:-]') then
    return nil, nil, nil, 'a name is not of letters, digits, _ . : -'
  end
  return names, staged, standing
end

-- Removes what was staged for a call that publishes nothing.
local function drop_staged(keys)
  for i = 2, #keys do
    if string.sub(keys[i], -1) == '~' then redis.call('UNLINK', keys[i]) end
  end
end

-- Those of the keys that do not exist (evicted, or deleted by hand), as a set.
local function absent_keys(keys)
  local absent = {}
  if #keys > 0 and redis.call('EXISTS', unpack(keys)) < #keys then
    for _, key in ipairs(keys) do
      if redis.call('EXISTS', key) == 0 then absent[key] = true end
    end
  end
  return absent
end

-- Names that head lists and this call does not, sorted; only then are all its fields read.
local function unlisted(head, old, names)
  local known, given, gone = HEAD_FIELDS, {}, {}
  for i = 1, #names do if old[i + 2] then known = known + 1 end end
  if redis.call('HLEN', head) == known then return gone end
  for _, name in ipairs(names) do given[name] = true end
  for _, field in ipairs(redis.call('HKEYS', head)) do
    if not OWN[field] and not given[field] then gone[#gone + 1] = field end
  end
  table.sort(gone)
  return gone
end

-- Whether a body that is to stay as it is cannot: head is at another version than it was seen at, or the body is gone.
-- One that head does not list was not there then either.
local function is_lacking(keys, standing, old, old_epoch, old_version, epoch)
  local listed = {}
  for i, version in pairs(standing) do
    if old_epoch ~= epoch or old_version ~= version then return true end
    if old[i + 2] then listed[#listed + 1] = keys[i + 1] end
  end
  return #listed > 0 and redis.call('EXISTS', unpack(listed)) < #listed
end

-- Which bodies are to be written: their positions, by position the content version, and how many others are kept.
local function plan(keys, args, n, old, newer, standing)
  local same, kept, kept_keys, writes, contents, absent_from_both = {}, {}, {}, {}, {}, 0
  for i = 1, n do
    local entry = old[i + 2]
    same[i] = entry and (standing[i] or string.sub(entry, -32) == args[4 * i + 2])
    kept[i] = same[i] or standing[i] or (entry and not newer)
    if kept[i] and entry then kept_keys[#kept_keys + 1] = keys[i + 1] end
    if standing[i] and not entry then absent_from_both = absent_from_both + 1 end
  end
  local absent, now = absent_keys(kept_keys), args[1] .. '-' .. args[2]
  for i = 1, n do
    if not kept[i] or absent[keys[i + 1]] then
      writes[#writes + 1], contents[i] = i, same[i] and string.sub(old[i + 2], 1, -34) or now
    end
  end
  return writes, contents, n - #writes - absent_from_both
end

-- What would fail midway: a body that is not staged, a command the user may not run. Or nil.
local function unready(keys, channel, n, gone_keys)
  local head, allowed = keys[1], redis.acl_check_cmd
  local staged = #keys - 1 - n
  if staged > 0 and redis.call('EXISTS', unpack(keys, n + 2)) < staged then return 'WBARGS a body is not staged' end
  if not allowed('HSET', head, 'epoch', '0') then return 'NOPERM this user may not HSET' end
  if not allowed('PUBLISH', channel, '') then return 'NOPERM this user may not PUBLISH to ' .. channel end
  if not allowed('UNLINK', head, unpack(gone_keys)) then return 'NOPERM this user may not UNLINK' end
  if staged > 0 and not allowed('RENAME', keys[#keys], keys[2]) then return 'NOPERM this user may not RENAME' end
  if #gone_keys > 0 and not allowed('HDEL', head, 'epoch') then return 'NOPERM this user may not HDEL' end
  return nil
end

-- Puts one body in place, over whatever is there.
local function put(key, args, i, staged, content)
  local a = 4 * i + 2
  if staged then
    redis.call('RENAME', staged, key)
    redis.call('HSET', key, 'version', content)
    return
  end
  local reply = redis.pcall('HSET', key, 'body', args[a + 3], 'encoding', args[a + 1], 'type', args[a + 2],
    'etag', args[a], 'version', content, 'as_of', args[3], 'run', args[4])
  if type(reply) == 'table' then -- not a hash: somebody else's, under our name
    redis.call('UNLINK', key)
    put(key, args, i, staged, content)
  end
end

local function quoted(names)
  if #names == 0 then return '[]' end
  return '["' .. table.concat(names, '","') .. '"]'
end

-- Brings bodies and head up to date. Returns the names written.
local function write(keys, args, names, staged, writes, contents, gone, gone_keys, newer, first)
  local head, changed, fields = keys[1], {}, {}
  if newer then fields = {'epoch', args[1], 'version', args[2], 'as_of', args[3], 'run', args[4]} end
  local base = #fields
  for w = 1, #writes do
    local i = writes[w]
    put(keys[i + 1], args, i, staged[i], contents[i])
    changed[w], fields[base + 2 * w - 1], fields[base + 2 * w] = names[i], names[i], contents[i] .. ' ' .. args[4 * i + 2]
  end
  if #writes < #names then drop_staged(keys) end
  if #gone > 0 then
    redis.call('UNLINK', unpack(gone_keys))
    redis.call('HDEL', head, unpack(gone))
  end
  if first then redis.call('HSET', head, 'refused', '0') end
  if #fields > 0 then redis.call('HSET', head, unpack(fields)) end
  return changed
end

-- KEYS: head, the bodies' keys, the staged keys of some of them in the same order. ARGV: epoch, version, as_of, run,
-- events channel, then for each body etag, encoding, type, body, the last three empty for a staged one. A body that stays
-- as it is has no etag, and for its encoding the version at which the head must be, in the same epoch, for that to be
-- true; where it is not, or such a body is gone, nothing is published and the status is `lacking`.
-- Returns status, written, kept, deleted, and the head's epoch and version.
local function wb_publish(keys, args)
  local head = keys[1] or ''
  local prefix, symbol = string.match(head, '^([^{}%c]+{([^{}%c%s"\\]+)}:)head$')
  local names, staged, standing
  local problem = wrong_call(keys, args, prefix)
  if not problem then names, staged, standing, problem = read_bodies(keys, args, prefix) end
  if problem then
    drop_staged(keys)
    return wrong(problem)
  end

  local n = #names
  local old = redis.call('HMGET', head, 'epoch', 'version', unpack(names))
  local epoch, version = tonumber(args[1]), tonumber(args[2])
  local first = not old[1] and not old[2]
  local old_epoch, old_version = first and -1 or whole(old[1]), first and -1 or whole(old[2])
  if not old_epoch or not old_version then
    drop_staged(keys)
    return wrong('damaged, delete it: ' .. head)
  end
  if epoch < old_epoch or (epoch == old_epoch and version < old_version) then
    redis.call('HINCRBY', head, 'refused', 1)
    drop_staged(keys)
    return {'refused', 0, 0, 0, old_epoch, old_version}
  end

  if is_lacking(keys, standing, old, old_epoch, old_version, epoch) then
    drop_staged(keys)
    return {'lacking', 0, 0, 0, old_epoch, old_version}
  end

  local newer = epoch > old_epoch or version > old_version
  local writes, contents, kept = plan(keys, args, n, old, newer, standing)
  local gone, gone_keys = newer and not first and unlisted(head, old, names) or {}, {}
  for i = 1, #gone do gone_keys[i] = prefix .. gone[i] end
  problem = unready(keys, args[5], n, gone_keys)
  if problem then
    drop_staged(keys)
    return redis.error_reply(problem .. '; nothing was published')
  end

  local changed = write(keys, args, names, staged, writes, contents, gone, gone_keys, newer, first)
  if newer or #changed > 0 then
    redis.call('PUBLISH', args[5], '{"symbol":"' .. symbol .. '","epoch":' .. args[1] .. ',"version":' .. args[2]
      .. ',"changed":' .. quoted(changed) .. ',"deleted":' .. quoted(gone) .. '}')
  end
  return {newer and 'published' or (#changed > 0 and 'restored' or 'equal'),
    #changed, kept, #gone, epoch, version}
end

-- KEYS: checked. ARGV: epoch, moment (microseconds since 1970). Moves forward only, and a later epoch starts
-- anew, so that a publisher that is fenced out cannot make values look fresh. Returns moved, epoch, moment.
local function wb_checked(keys, args)
  if #keys ~= 1 or #args ~= 2 then return wrong('wb_checked takes a key, an epoch and a moment') end
  local epoch, moment = whole(args[1]), whole(args[2])
  if not epoch or not moment then return wrong('epoch and moment must be whole numbers below 2^53') end
  local old = redis.call('HMGET', keys[1], 'epoch', 'moment')
  local old_epoch, old_moment = whole(old[1]) or -1, whole(old[2]) or -1
  if epoch < old_epoch or (epoch == old_epoch and moment <= old_moment) then return {0, old_epoch, old_moment} end
  redis.call('HSET', keys[1], 'epoch', args[1], 'moment', args[2])
  return {1, epoch, moment}
end

-- KEYS: owner. ARGV: identity of the database, identity it replaces ('' for none). Returns the owner from now on.
local function wb_claim_namespace(keys, args)
  if #keys ~= 1 or #args ~= 2 or args[1] == '' then return wrong('wb_claim_namespace takes a key and two identities') end
  local owner = redis.call('GET', keys[1])
  if owner and owner ~= args[1] and owner ~= args[2] then return owner end
  redis.call('SET', keys[1], args[1])
  return args[1]
end

redis.register_function('wb_publish', wb_publish)
redis.register_function('wb_checked', wb_checked)
redis.register_function('wb_claim_namespace', wb_claim_namespace)
