print('hello')

def app(:
