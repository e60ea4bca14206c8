-- SPDX-License-Identifier: BSD-2-Clause
--
-- The load of server-bench, for wrk. Arguments: pairs of a page and its weight. Every request has a
-- seed of its own; the last line printed is for server-bench to read.

local workers = {}

function setup(thread)
    thread:set("number", #workers)
    table.insert(workers, thread)
end

function init(args)
    paths = {}
    damaged = 0
    sent = number * 1000003
    for i = 1, #args - 1, 2 do
        for _ = 1, tonumber(args[i + 1]) do
            table.insert(paths, "/" .. args[i])
        end
    end
end

function request()
    sent = sent + 1
    return wrk.format("GET", paths[sent % #paths + 1] .. "?seed=" .. sent % 999999999)
end

-- Length and status are checked by wrk; what is cut or overwritten, here, as far as one can without
-- knowing the page.
function response(status, headers, body)
    if status == 200 and (body:sub(1, 6) ~= "<html>" or body:sub(-8) ~= "</html>\n"
            or body:find("%z")) then
        damaged = damaged + 1
    end
end

function done(summary, latency, requests)
    local bad = 0
    for _, thread in ipairs(workers) do
        bad = bad + thread:get("damaged")
    end
    local errors = summary.errors
    io.write(string.format(
        "\nresult requests %d duration_us %d p50_us %d p99_us %d max_us %d " ..
        "connect %d read %d write %d timeout %d status %d damaged %d\n",
        summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
        latency.max, errors.connect, errors.read, errors.write, errors.timeout, errors.status,
        bad))
end
