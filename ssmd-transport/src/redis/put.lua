-- Writes many keys, each if it has the version that is expected of it. Atomic as a whole, one answer a key.
-- KEYS: where the last version is kept, then the keys. ARGV: expected, milliseconds to live, value; for each key.
-- Expected is "*" for anything, "-" for absent, else a version. An answer is the new version, "-" for a conflict,
-- or "!" and what Redis said.
local said = redis.call('TIME')
local last = tonumber(redis.call('GET', KEYS[1]) or '0')
-- Never below the clock: so no version comes twice, even if Redis has lost the last one.
last = math.max(last, said[1] * 1000000 + said[2])
local answers = {}
for at = 2, #KEYS do
    local key, from = KEYS[at], (at - 2) * 3
    local expected, ttl = ARGV[from + 1], ARGV[from + 2]
    local answer
    if expected ~= '*' then
        local found = redis.pcall('HGET', key, 'version')
        if type(found) == 'table' and found.err then
            answer = '!' .. found.err
        elseif (found or '-') ~= expected then
            answer = '-'
        end
    end
    if not answer then
        local version = string.format('%.0f', last + 1)
        local done = redis.pcall('HSET', key, 'version', version, 'value', ARGV[from + 3])
        if type(done) == 'table' and done.err then
            answer = '!' .. done.err
        else
            last = last + 1
            answer = version
            if ttl ~= '' then
                redis.call('PEXPIRE', key, ttl)
            elseif done == 0 then
                redis.call('PERSIST', key)
            end
        end
    end
    answers[at - 1] = answer
end
redis.call('SET', KEYS[1], string.format('%.0f', last))
return answers
