from engines.contract import *
