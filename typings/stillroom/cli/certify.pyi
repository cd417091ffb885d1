from cli.certify import *
