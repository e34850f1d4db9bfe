-- Writes many keys, each if it has the version that is expected of it. Atomic as a whole, one answer a key.
-- KEYS: where the last version is kept, then the keys. ARGV: expected and value, for each key; then, if any of them
-- has one, its milliseconds to live or nothing, for each key.
-- Expected is "*" for anything, "-" for absent, else a version. An answer is the new version, "-" for a conflict,
-- or "!" and what Redis said; all of them are one text, a line each, since Redis writes many texts slowly.
local call, keys, args, format, type = redis.pcall, KEYS, ARGV, string.format, type
local said = redis.call('TIME')
local last = tonumber(redis.call('GET', keys[1]) or '0')
-- Never below the clock: so no version comes twice, even if Redis has lost the last one.
last = math.max(last, said[1] * 1000000 + said[2])
local many, answers = #keys - 1, {}
for at = 1, many do
    local key, expected = keys[at + 1], args[2 * at - 1]
    local answer
    if expected ~= '*' then
        local found = call('HGET', key, 'version') or '-'
        if type(found) == 'table' then
            answer = '!' .. found.err
        elseif found ~= expected then
            answer = '-'
        end
    end
    if not answer then
        local version = format('%.0f', last + 1)
        local done = call('HSET', key, 'version', version, 'value', args[2 * at])
        if type(done) == 'table' then
            answer = '!' .. done.err
        else
            last = last + 1
            answer = version
            local ttl = args[2 * many + at] or ''
            if ttl ~= '' then
                redis.call('PEXPIRE', key, ttl)
            elseif done == 0 then
                redis.call('PERSIST', key)
            end
        end
    end
    answers[at] = answer
end
redis.call('SET', keys[1], format('%.0f', last))
return table.concat(answers, '\n')
