from engines.provider import *
