package config

import (
	"encoding/base64"
	"strings"

	"github.com/sequinstream/sequin/internal/problem"
)

// Raw is a document that was read and not looked into yet.
type Raw struct {
	Name string // for messages
	Data []byte
}

// ReadConfig reads the document that the settings name; nil when there is none: neither named nor ./sequin.yaml.
func (s *Server) ReadConfig() (*Raw, []Warning, error) {
	if s.ConfigYAML != "" {
		data, err := decodeBase64(s.ConfigYAML)
		if err != nil {
			return nil, nil, err
		}
		return &Raw{Name: "SEQUIN_CONFIG_YAML", Data: data}, nil, nil
	}
	path := s.ConfigFile
	if path == "" {
		path = DefaultFile
	}
	if !s.fileNamed && !exists(path) {
		if s.ConfigFile == "" {
			return nil, nil, nil
		}
		return nil, []Warning{{File: path, Message: "CONFIG_FILE_PATH names this file, which does not exist; it declares nothing"}}, nil
	}
	data, err := ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	return &Raw{Name: path, Data: data}, nil, nil
}

func decodeBase64(text string) ([]byte, error) {
	clean := strings.Join(strings.Fields(text), "")
	data, err := base64.StdEncoding.DecodeString(clean)
	if err != nil {
		data, err = base64.RawStdEncoding.DecodeString(clean)
	}
	if err != nil {
		return nil, problem.New("config_unreadable", "SEQUIN_CONFIG_YAML is not Base64").WithHint("encode the file with: base64 -w0 sequin.yaml")
	}
	return data, nil
}
