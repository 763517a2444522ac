-- Pandoc filter: headings, lists, tables and code stay; what only shows, links or navigates goes.

-- Directives of reStructuredText (Sphinx's among them) whose content is for the tool, not for a reader.
local TOOLS = {
  index = true, toctree = true, highlight = true, sectionauthor = true, moduleauthor = true, codeauthor = true,
  module = true, currentmodule = true, tabularcolumns = true, testsetup = true, testcleanup = true, program = true,
  include = true, literalinclude = true, contents = true, sectnum = true, meta = true, ["default-domain"] = true,
  automodule = true, autoclass = true, autofunction = true, automethod = true, autosummary = true, image = true,
  raw = true, ["py:module"] = true, ["py:currentmodule"] = true,
}

-- Roles that stand for a document of a series.
local SERIES = { pep = "PEP ", rfc = "RFC " }

local function text_of(inlines)
  return pandoc.utils.stringify(inlines)
end

-- One line of a table's cell or of a list's term.
local function one_line(blocks)
  local inlines = pandoc.utils.blocks_to_inlines(blocks, { pandoc.Space() })
  return inlines:walk({
    LineBreak = function() return pandoc.Space() end,
    SoftBreak = function() return pandoc.Space() end,
  })
end

-- A permanent link beside a heading or a term shows a sign alone.
local function is_sign(text)
  return text == "¶" or text == "#" or text == "§" or text == "" or text == "🔗"
end

local function role(code)
  local name = code.attributes.role or ""
  name = name:match("([^:]+)$") or ""
  local text = code.text:gsub("%s+", " ")
  local title = text:match("^(.-)%s*<[^<>]*>$")
  if title and title ~= "" then
    return pandoc.Str(title)
  end
  if SERIES[name] then
    return pandoc.Str(SERIES[name] .. text)
  end
  if text:match("^~") then
    text = text:match("([^.]+)$")
  end
  return pandoc.Code((text:gsub("^!", "")))
end

-- Inlines that stand beside each other as one: HTML highlights parts of a piece of code singly.
local function joined(inlines)
  local result = pandoc.Inlines({})
  for _, one in ipairs(inlines) do
    local last = result[#result]
    if last and last.t == "Code" and one.t == "Code" then
      last.text = last.text .. one.text
    else
      result:insert(one)
    end
  end
  return result
end

local inline = {
  Emph = function(one) return one.content end,
  Strong = function(one) return one.content end,
  Underline = function(one) return one.content end,
  SmallCaps = function(one) return one.content end,
  Strikeout = function(one) return one.content end,
  Span = function(one) return one.content end,
  Superscript = function(one) return one.content end,
  Subscript = function(one) return one.content end,
  Link = function(one)
    if is_sign(text_of(one.content)) then return {} end
    return one.content
  end,
  Image = function(one) return one.caption end,
  RawInline = function() return {} end,
  SoftBreak = function() return pandoc.Space() end,
  Code = function(one)
    if one.classes:includes("interpreted-text") then return role(one) end
    return pandoc.Code(one.text)
  end,
}

local code = {
  Inlines = joined,
}

local function definitions(list)
  local items = {}
  for _, item in ipairs(list.content) do
    local blocks = pandoc.Blocks({})
    for _, definition in ipairs(item[2]) do
      blocks:extend(definition)
    end
    local first = blocks[1]
    local term = one_line({ pandoc.Plain(item[1]) })
    if first and (first.t == "Para" or first.t == "Plain") then
      -- The term in front of what it means, in one block, so that they stay together.
      term:insert(pandoc.SoftBreak())
      term:extend(first.content)
      blocks:remove(1)
    end
    blocks:insert(1, pandoc.Plain(term))
    table.insert(items, blocks)
  end
  return pandoc.BulletList(items)
end

-- Text as it is, without backslashes, where it cannot be taken for a block of Markdown.
local MARKUP = "^[#>|=~`*+_-]"
local function bare(inlines)
  for number, one in ipairs(inlines) do
    local starts = number == 1 or inlines[number - 1].t == "SoftBreak" or inlines[number - 1].t == "LineBreak"
    if one.t == "Str" and not (starts and (one.text:match(MARKUP) or one.text:match("^%d+[.)]") or one.text:match("^<"))) then
      inlines[number] = pandoc.RawInline("markdown", one.text)
    end
  end
  return inlines
end

-- The rows of a table's head, bodies and foot, from top to bottom.
local function rows_of(one)
  local found = pandoc.List({})
  found:extend(one.head.rows)
  for _, body in ipairs(one.bodies) do
    found:extend(body.head)
    found:extend(body.body)
  end
  found:extend(one.foot.rows)
  return found
end

-- A table of one line a cell, which Markdown can write; a cell that spans others stands in the first of them.
local function simple(one)
  local rows, wide = {}, {}
  local below = {}
  local function add(row, number)
    local cells, column = {}, 1
    for _, cell in ipairs(row.cells) do
      while (below[column] or 0) > 0 do
        below[column] = below[column] - 1
        cells[column] = pandoc.Inlines({})
        column = column + 1
      end
      for other = 0, cell.col_span - 1 do
        cells[column] = other == 0 and one_line(cell.contents) or pandoc.Inlines({})
        below[column] = cell.row_span - 1
        column = column + 1
      end
    end
    rows[number] = cells
    wide[number] = #cells
  end
  for number, row in ipairs(rows_of(one)) do
    add(row, number)
  end
  local number = #rows
  if number == 0 then return {} end
  local columns = math.max(table.unpack(wide, 1, math.min(number, 200)))
  local function line(cells)
    local texts = {}
    for column = 1, columns do
      local inlines = cells[column] or pandoc.Inlines({})
      local plain = pandoc.Pandoc({ pandoc.Plain(bare(inlines)) })
      local text = pandoc.write(plain, "gfm-raw_html", { wrap_text = "none" })
      texts[column] = text:gsub("%s+", " "):gsub("^ ", ""):gsub(" $", ""):gsub("\\|", "|"):gsub("|", "\\|")
    end
    return "| " .. table.concat(texts, " | ") .. " |"
  end
  -- Without a head, the first row is taken for one.
  local lines = { line(rows[1]), "|" .. string.rep(" --- |", columns) }
  for row = 2, number do
    table.insert(lines, line(rows[row]))
  end
  return pandoc.RawBlock("markdown", table.concat(lines, "\n"))
end

local function caption(one)
  local words = one.caption and one.caption.long
  return words and #words > 0 and pandoc.Blocks(words) or pandoc.Blocks({})
end

-- A table that only lays blocks out on a page, as notes with a picture are: its blocks, one after the other.
local function laid_out(one)
  local blocks, filled, rich = pandoc.Blocks({}), 0, false
  for _, row in ipairs(rows_of(one)) do
    for _, cell in ipairs(row.cells) do
      if text_of(cell.contents) ~= "" then filled = filled + 1 end
      local paragraphs = 0
      for _, inner in ipairs(cell.contents) do
        if inner.t == "Para" then paragraphs = paragraphs + 1 end
        rich = rich or paragraphs > 2 or inner.t == "CodeBlock" or inner.t == "Header" or inner.t == "Table"
      end
      blocks:extend(cell.contents)
    end
  end
  return (rich or filled <= 3) and blocks or nil
end

local function table_blocks(one)
  local blocks = laid_out(one)
  if blocks then return blocks:walk({ Plain = function(plain) return pandoc.Para(plain.content) end }) end
  blocks = caption(one)
  blocks:extend(pandoc.Blocks({ simple(one) }))
  return blocks
end

local function fenced(one)
  local fence = "```"
  while one.text:find(fence, 1, true) do fence = fence .. "`" end
  local language = (one.classes[1] or ""):gsub("[^%w+#.-]", "")
  return pandoc.RawBlock("markdown", fence .. language .. "\n" .. one.text .. "\n" .. fence)
end

local block = {
  Div = function(one)
    for _, class in ipairs(one.classes) do
      if TOOLS[class] then return {} end
    end
    return one.content
  end,
  Figure = function(one)
    local blocks = pandoc.Blocks(one.content)
    blocks:extend(caption(one))
    return blocks
  end,
  RawBlock = function() return {} end,
  HorizontalRule = function() return {} end,
  LineBlock = function(one)
    local inlines = pandoc.Inlines({})
    for number, line in ipairs(one.content) do
      if number > 1 then inlines:insert(pandoc.SoftBreak()) end
      inlines:extend(line)
    end
    return pandoc.Para(inlines)
  end,
}

local writing = {
  Para = function(one) return pandoc.Para(bare(one.content)) end,
  Plain = function(one) return pandoc.Plain(bare(one.content)) end,
  Header = function(one) return pandoc.Header(one.level, bare(one.content)) end,
}

local function letters(text)
  return (text:gsub("[%s%p]", ""):gsub("\u{A0}", ""))
end

-- The title as a heading above the others, where the text has none of its own.
local function titled(document)
  local title = document.meta.title and text_of(document.meta.title) or ""
  local section = document.meta.section and text_of(document.meta.section) or ""
  if title == "" then return document end
  if section ~= "" then title = title .. "(" .. section .. ")" end
  local tops, first = 0, nil
  for _, one in ipairs(document.blocks) do
    if one.t == "Header" then
      first = first or one
      if one.level == 1 then tops = tops + 1 end
    end
  end
  if first and letters(text_of(first.content)) == letters(title) then return document end
  if tops > 0 then
    document = document:walk({ Header = function(one) one.level = math.min(6, one.level + 1) return one end })
  end
  document.blocks:insert(1, pandoc.Header(1, { pandoc.Str(title) }))
  return document
end

function Pandoc(document)
  document = document:walk(block)
  document = document:walk(inline):walk(code)
  document = titled(document)
  document = document:walk({
    Note = function(one)
      local inlines = one_line(one.content)
      inlines:insert(1, pandoc.Str(" ("))
      inlines:insert(pandoc.Str(")"))
      return inlines
    end,
  })
  document = document:walk({ DefinitionList = definitions, Table = table_blocks })
  document = document:walk({ CodeBlock = fenced })
  document = document:walk(writing)
  return pandoc.Pandoc(document.blocks)
end
