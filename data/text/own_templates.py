"""Chat templates of this project, for weights whose own shows no tools (`data.template`)."""

# ChatML; a system message lists the tools, calls are <tool_call>{"name": ..., "arguments": {...}}</tool_call>, results
# <tool_response>...</tool_response> in a user's turn: the forms of Hermes 2 Pro and Qwen 2.5, in fewer words.
HERMES = r"""{%- set system = messages[0].content if messages[0].role == 'system' else '' -%}
{%- if system or tools -%}
{{- '<|im_start|>system\n' + system -}}
{%- if tools -%}
{{- ('\n\n' if system else '') + 'You may call these functions:\n<tools>\n' -}}
{%- for tool in tools -%}{{- (tool.function | tojson) + '\n' -}}{%- endfor -%}
{{- '</tools>\nTo call one write <tool_call>{"name": its name, "arguments": {its arguments}}</tool_call>' -}}
{%- endif -%}
{{- '<|im_end|>\n' -}}
{%- endif -%}
{%- for message in messages -%}
{%- if message.role == 'tool' -%}
{{- '<|im_start|>user\n' if loop.first or messages[loop.index0 - 1].role != 'tool' else '\n' -}}
{{- '<tool_response>\n' + message.content + '\n</tool_response>' -}}
{{- '<|im_end|>\n' if loop.last or messages[loop.index0 + 1].role != 'tool' else '' -}}
{%- elif message.role != 'system' or not loop.first -%}
{{- '<|im_start|>' + message.role + '\n' + message.content -}}
{%- for call in message.tool_calls or [] -%}
{%- set arguments = call.function.arguments -%}
{{- '\n' if message.content or not loop.first else '' -}}
{{- '<tool_call>\n{"name": "' + call.function.name + '", "arguments": ' -}}
{{- (arguments if arguments is string else arguments | tojson) + '}\n</tool_call>' -}}
{%- endfor -%}
{{- '<|im_end|>\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}"""

TEMPLATES = {"hermes": HERMES}
