#!lua name=warmbars
-- version 1: raise it with every change, storage/cache/library.py compares it.
-- docs/cache-contract.md explains the keys. A script that fails midway is not rolled back, so every function
-- checks whatever it can fail on before its first write.

local EXACT = 9007199254740992 -- 2^53: below it a Lua number holds every whole number
local MOST_BODIES = 1000
local OWN = {epoch = true, version = true, as_of = true, run = true, refused = true} -- fields of head that are no keys
local OWN_FIELDS = 5

-- The number a canonical decimal ("0", "17") stands for, or nil.
local function whole(text)
  local n = text and #text <= 16 and string.find(text, '^%d+$') and tonumber(text)
  if n and n < EXACT and string.format('%.0f', n) == text then return n end
  return nil
end

local function wrong(text)
  return redis.error_reply('WBARGS ' .. text .. '; nothing was written')
end

-- What is wrong with the call as a whole, or nil.
local function wrong_call(keys, args, prefix)
  if not prefix then return 'the first key is no head: ' .. tostring(keys[1]) end
  if #keys > MOST_BODIES + 1 then return 'more than ' .. MOST_BODIES .. ' bodies' end
  if #args ~= 5 + 4 * (#keys - 1) then return 'five arguments and four for each body are expected' end
  if not whole(args[1]) then return 'epoch is not a whole number below 2^53: ' .. args[1] end
  if not whole(args[2]) then return 'version is not a whole number below 2^53: ' .. args[2] end
  if not string.find(args[3], '^%d%d%d%d%-%d%d%-%d%dT[%d:.]+Z$') then return 'as_of is no UTC time: ' .. args[3] end
  return nil
end

-- The names of the body keys, in order and as a set (a name is what follows the symbol); what is wrong, or nil.
local function body_names(keys, args, prefix)
  local names, seen, from = {}, {}, #prefix + 1
  for i = 2, #keys do
    local key, a = keys[i], 4 * i - 2
    local name = string.sub(key, from)
    if string.find(key, prefix, 1, true) ~= 1 or not string.find(name, '^[%w_.:-]+$') or name == 'head' or OWN[name] then
      return nil, nil, 'not a body key of this head: ' .. key
    end
    if seen[name] then return nil, nil, 'given twice: ' .. key end
    if #args[a] ~= 32 then return nil, nil, 'etag is not 32 hex digits: ' .. key end
    if args[a + 1] == '' or args[a + 2] == '' then return nil, nil, 'no encoding or type: ' .. key end
    names[i - 1], seen[name] = name, true
  end
  return names, seen
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

-- Names that head lists and this call does not, sorted; only then is the whole head read.
local function unlisted(head, old, names, seen)
  local known = OWN_FIELDS
  for i = 1, #names do if old[i + 2] then known = known + 1 end end
  local gone = {}
  if redis.call('HLEN', head) == known then return gone end
  for _, field in ipairs(redis.call('HKEYS', head)) do
    if not OWN[field] and not seen[field] then gone[#gone + 1] = field end
  end
  table.sort(gone)
  return gone
end

-- A command of this call that the user may not run: its refusal midway would tear.
local function forbidden(head, gone_keys, channel)
  if not redis.acl_check_cmd('HSET', head, 'epoch', '0') then return 'HSET' end
  if not redis.acl_check_cmd('PUBLISH', channel, '') then return 'PUBLISH to ' .. channel end
  if #gone_keys == 0 then return nil end
  if not redis.acl_check_cmd('DEL', unpack(gone_keys)) then return 'DEL' end
  if not redis.acl_check_cmd('HDEL', head, 'epoch') then return 'HDEL' end
  return nil
end

-- Writes body i; false where its key holds something other than a hash.
local function write_body(key, args, i, content)
  local a = 4 * i + 2
  local reply = redis.pcall('HSET', key, 'body', args[a + 3], 'encoding', args[a + 1], 'type', args[a + 2],
    'etag', args[a], 'version', content, 'as_of', args[3], 'run', args[4])
  return type(reply) ~= 'table'
end

local function quoted(names)
  if #names == 0 then return '[]' end
  return '["' .. table.concat(names, '","') .. '"]'
end

-- KEYS: head, then the bodies' keys. ARGV: epoch, version, as_of, run, events channel, then for each body
-- etag, encoding, type, body. Returns status, written, kept, deleted, and the head's epoch and version.
local function wb_publish(keys, args)
  local head = keys[1] or ''
  local prefix, symbol = string.match(head, '^([^{}%c]+{([^{}%c%s"\\]+)}:)head$')
  local names, seen
  local problem = wrong_call(keys, args, prefix)
  if not problem then names, seen, problem = body_names(keys, args, prefix) end
  if problem then return wrong(problem) end

  local old = redis.call('HMGET', head, 'epoch', 'version', unpack(names))
  local epoch, version = tonumber(args[1]), tonumber(args[2])
  local first = not old[1] and not old[2]
  local old_epoch, old_version = first and -1 or whole(old[1]), first and -1 or whole(old[2])
  if not old_epoch or not old_version then return wrong('damaged, delete it: ' .. head) end
  if epoch < old_epoch or (epoch == old_epoch and version < old_version) then
    redis.call('HINCRBY', head, 'refused', 1)
    return {'refused', 0, 0, 0, old_epoch, old_version}
  end

  local newer = epoch > old_epoch or version > old_version
  local same, kept, kept_keys = {}, {}, {}
  for i = 1, #names do
    local entry = old[i + 2]
    same[i] = entry and string.sub(entry, -32) == args[4 * i + 2]
    kept[i] = same[i] or (entry and not newer)
    if kept[i] then kept_keys[#kept_keys + 1] = keys[i + 1] end
  end
  local absent = absent_keys(kept_keys)
  local now, writes, contents, changed, entries = args[1] .. '-' .. args[2], {}, {}, {}, {}
  for i = 1, #names do
    if not kept[i] or absent[keys[i + 1]] then
      local content, n = same[i] and string.sub(old[i + 2], 1, -34) or now, #writes + 1
      writes[n], contents[n], changed[n] = i, content, names[i]
      entries[2 * n - 1], entries[2 * n] = names[i], content .. ' ' .. args[4 * i + 2]
    end
  end
  local gone, gone_keys = newer and not first and unlisted(head, old, names, seen) or {}, {}
  for i = 1, #gone do gone_keys[i] = prefix .. gone[i] end
  local command = forbidden(head, gone_keys, args[5])
  if command then return redis.error_reply('NOPERM this user may not ' .. command .. '; nothing was written') end

  for n = 1, #writes do
    local i = writes[n]
    if not write_body(keys[i + 1], args, i, contents[n]) then
      redis.call('DEL', keys[i + 1])
      write_body(keys[i + 1], args, i, contents[n])
    end
  end
  if #gone > 0 then
    redis.call('DEL', unpack(gone_keys))
    redis.call('HDEL', head, unpack(gone))
  end
  if first then redis.call('HSET', head, 'refused', '0') end
  if newer then redis.call('HSET', head, 'epoch', args[1], 'version', args[2], 'as_of', args[3], 'run', args[4]) end
  if #entries > 0 then redis.call('HSET', head, unpack(entries)) end
  if newer or #writes > 0 then
    redis.call('PUBLISH', args[5], '{"symbol":"' .. symbol .. '","epoch":' .. args[1] .. ',"version":' .. args[2]
      .. ',"changed":' .. quoted(changed) .. ',"deleted":' .. quoted(gone) .. '}')
  end
  return {newer and 'published' or (#writes > 0 and 'restored' or 'equal'),
    #writes, #names - #writes, #gone, epoch, version}
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
