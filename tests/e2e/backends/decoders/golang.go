// Go: encoding/json with structs, as the SDKs for MCP unmarshal, and a Decoder, which leaves the rest of the body alone.
// A line of hexadecimal in, a line of readings out.
package main

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
)

type message struct {
	Jsonrpc string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Method  string          `json:"method"`
	Params  struct {
		Name      string          `json:"name"`
		URI       string          `json:"uri"`
		TaskID    string          `json:"taskId"`
		Arguments json.RawMessage `json:"arguments"`
		Meta      struct {
			Version string `json:"io.modelcontextprotocol/protocolVersion"`
		} `json:"_meta"`
	} `json:"params"`
}

func reading(message message, err error) any {
	if err != nil {
		return map[string]string{"error": err.Error()}
	}
	return []string{
		strings.TrimSpace(message.Method),
		strings.TrimSpace(message.Params.Name),
		strings.TrimSpace(message.Params.Meta.Version),
	}
}

func main() {
	lines := bufio.NewReader(os.Stdin)
	answers := json.NewEncoder(os.Stdout)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		body, _ := hex.DecodeString(strings.TrimSpace(line))
		var whole, first message
		wholeError := json.Unmarshal(body, &whole)
		firstError := json.NewDecoder(bytes.NewReader(body)).Decode(&first)
		answers.Encode(map[string]any{"go": reading(whole, wholeError), "go, decoder": reading(first, firstError)})
	}
}
